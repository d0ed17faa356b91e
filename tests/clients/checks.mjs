// The six checks of a client in Node, and what plain HTTP was told to the same questions: see run.py.
import assert from "node:assert";
import { readFileSync } from "node:fs";

// url, key, model, questions (two), and replies to each of them, the second being asked behind the first.
export const given = JSON.parse(process.env.PONDER_CLIENT);

// Makes the checks, each a function, or a text that says why this client does not offer it.
export async function run(version, checks) {
  console.log(`version: ${version}`);
  for (const [name, check] of Object.entries(checks)) {
    let told = `not offered: ${check}`;
    if (typeof check === "function") {
      try {
        await check();
        told = "ok";
      } catch (err) {
        console.error(err);
        told = `FAILED: ${err.name}`;
      }
    }
    console.log(`${name}: ${told}`);
  }
}

// The version of a package that lies beside this script.
export const version = (name) =>
  JSON.parse(readFileSync(new URL(`node_modules/${name}/package.json`, import.meta.url))).version;

// The tokens are those that plain HTTP was told of a reply.
export const counts = (prompt, completion, reasoning, reply) =>
  assert.deepEqual([prompt, completion, reasoning], [reply.prompt, reply.completion, reply.reasoning]);
