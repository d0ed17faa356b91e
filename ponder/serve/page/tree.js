export function showTree(dialog) {
  dialog.showModal();
}
