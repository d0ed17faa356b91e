// The server's public API, as any client would use it: streams that can be taken up again where they broke off.

/** What the server refused, or what kept it from being reached. */
export class Failure extends Error {
  constructor(message, { status = 0, code = null, param = null, request = null } = {}) {
    super(message);
    Object.assign(this, { status, code, param, request });
  }
}

let key = "";

/** From now on requests carry this key. */
export function useKey(given) {
  key = given;
}

async function send(path, { method = "GET", body, signal } = {}) {
  const headers = { ...(body && { "content-type": "application/json" }), ...(key && { authorization: `Bearer ${key}` }) };
  let reply;
  try {
    reply = await fetch(path, { method, headers, signal, body: body && JSON.stringify(body) });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Failure("The server cannot be reached.");
  }
  if (reply.ok) return reply;
  const { error } = await reply.json().catch(() => ({}));
  const request = reply.headers.get("x-request-id");
  const message = error?.message ?? `The server answered ${reply.status}.`;
  throw new Failure(message, { status: reply.status, code: error?.code, param: error?.param, request });
}

/** Any JSON of the server's. */
export async function read(path, options) {
  return (await send(path, options)).json();
}

/** The events of a new response. */
export async function* respond(body, signal) {
  yield* events(await send("/v1/responses", { method: "POST", body: { ...body, stream: true }, signal }), signal);
}

/** The events of a response that is being written, or was, after the one with this number. */
export async function* resume(id, after, signal) {
  const path = `/v1/responses/${encodeURIComponent(id)}?stream=true${after >= 0 ? `&starting_after=${after}` : ""}`;
  const reply = await send(path, { signal });
  if (reply.headers.get("content-type")?.startsWith("application/json")) {
    const response = await reply.json();
    yield { type: `response.${response.status}`, response };
    return;
  }
  yield* events(reply, signal);
}

/** End a response that is being written in the background. */
export async function cancel(id) {
  return read(`/v1/responses/${encodeURIComponent(id)}/cancel`, { method: "POST" });
}

/** Have the server forget a response; one that is being written ends. */
export async function discard(id) {
  return read(`/v1/responses/${encodeURIComponent(id)}`, { method: "DELETE" });
}

/** The data of server-sent events; throws Failure where the stream breaks off before its end. */
async function* events(reply, signal) {
  const reader = reply.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      text += value;
      const parts = text.split("\n\n");
      text = parts.pop();
      for (const part of parts) {
        const data = part.split("\n").filter((line) => line.startsWith("data:")).map((line) => line.slice(5).trimStart());
        if (data[0] === "[DONE]") return;
        if (data.length) yield JSON.parse(data.join("\n"));
      }
    }
  } catch (error) {
    if (error.name === "AbortError" || signal?.aborted) throw new DOMException("stopped", "AbortError");
    if (error instanceof Failure) throw error;
  } finally {
    reader.cancel().catch(() => {});
  }
  if (signal?.aborted) throw new DOMException("stopped", "AbortError");
  throw new Failure("The connection broke off.");
}
