/* Changes go to the service one after the other, and wait when it cannot be reached. */

import { proofOf } from "../proof.js";

const TOO_OFTEN = 429;
const UNKNOWN = 404;

/**
 * `save(change)` tells at once how it went, by `say`. What the service holds then goes to
 * `update`. A change that could not be sent waits for "Try again", or for the network.
 */
export function openSaver(reader, { texts, say, held, update, draw, signal }) {
  const waiting = [];
  let working = false;

  async function work() {
    if (working || !waiting.length) return;
    working = true;
    say(texts.saving);
    try {
      while (waiting.length) {
        const change = { ...(await proofOf(reader)), ...waiting[0] };
        held = (await reader.call("PATCH", "subscriptions", change)).subscription;
        waiting.shift();
        await rememberChoices(reader, held);
      }
      update(held);
      say(texts.saved);
    } catch (error) {
      await tell(error);
    } finally {
      working = false;
    }
  }

  async function tell(error) {
    reader.explain(error);
    if (error.status === UNKNOWN) {
      // What was chosen goes along when the reader connects again.
      update(Object.assign({}, held, ...waiting));
      say("");
      return draw();
    }
    if (error.status >= 400 && error.status < 500 && error.status !== TOO_OFTEN) {
      waiting.length = 0;
      update(held);
      return say(texts.refused);
    }
    say(error.status === TOO_OFTEN ? texts.tooOften : texts.notSaved, [texts.again, work]);
  }

  addEventListener("online", work, { signal });
  return (change) => {
    waiting.push(change);
    return work();
  };
}

/** Keeps them where a later renewal of the subscription takes them from. */
async function rememberChoices(reader, { sections, level, language }) {
  const write = async () => {
    const optIn = await reader.recall("optIn");
    if (optIn) await reader.remember("optIn", { ...optIn, choices: { sections, level, language } });
  };
  await (navigator.locks ? navigator.locks.request("notifier", write) : write());
}
