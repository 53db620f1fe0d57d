/* This browser: a test message, and all that the service holds about it. */

import { proofOf } from "../proof.js";
import { renew } from "../subscribing.js";
import { element } from "../ui.js";
import { button, group, hint } from "./parts.js";

const GONE = 409;
const TOO_OFTEN = 429;
const SHOWN_OF_ADDRESS = 6;

export function testPart({ reader, texts, say }) {
  const send = async () => reader.call("POST", "subscriptions/test", await proofOf(reader));

  async function test() {
    try {
      await send().catch(async (error) => {
        if (error.status !== GONE) throw error;
        await renew(reader, { now: true });
        await send();
      });
      say(texts.testSent);
    } catch (error) {
      say(error.status === TOO_OFTEN ? texts.tooOften : texts.notSaved, [texts.again, test]);
      reader.explain(error);
    }
  }
  return group("browser", texts.browserTitle, button("test", texts.test, test));
}

export function dataPart({ reader, texts, say, config, stop, time, updating }) {
  const list = element("dl");
  updating((held) => {
    const names = new Map(config.sections.map(({ slug, name }) => [slug, name]));
    const chosen = held.sections.length ? held.sections : [...names.keys()];
    const level = `level${held.level[0].toUpperCase()}${held.level.slice(1)}`;
    const rows = [
      [texts.dataPushService, held.push_service],
      // It is a secret between us and the push service: whoever has it could act as this browser.
      [texts.dataAddress, `…${held.endpoint.slice(-SHOWN_OF_ADDRESS)}`],
      [texts.dataCreated, time(held.created_at)],
      [texts.dataSeen, time(held.last_seen_at)],
      [texts.levelTitle, texts[level]],
      [texts.sectionsTitle, chosen.map((slug) => names.get(slug) || slug).join(", ")],
      [texts.dataLanguage, held.language || "–"],
    ];
    list.replaceChildren(
      ...rows.flatMap(([name, value]) => [
        element("dt", { textContent: name }),
        element("dd", { textContent: value }),
      ]),
    );
  });

  async function download() {
    try {
      const { subscription } = await reader.call(
        "POST",
        "subscriptions/show",
        await proofOf(reader),
      );
      const device = {};
      for (const name of ["language", "quietHours"])
        device[name] = (await reader.recall(name)) || null;
      const text = JSON.stringify({ service: subscription, device }, null, 2);
      const href = URL.createObjectURL(new Blob([text], { type: "application/json" }));
      element("a", { href, download: "notifications.json" }).click();
      setTimeout(() => URL.revokeObjectURL(href), 60_000);
    } catch (error) {
      say(texts.notSaved, [texts.again, download]);
      reader.explain(error);
    }
  }

  const erase = button("erase", texts.erase, () => ask(true));
  const yes = button("erase-yes", texts.eraseYes, () => stop({ everything: true }), {
    className: "main",
  });
  const no = button("erase-no", texts.eraseNo, () => ask(false));
  const sure = element(
    "div",
    { hidden: true },
    hint(texts.eraseSure),
    element("div", { className: "row" }, yes, no),
  );
  function ask(asking) {
    sure.hidden = !asking;
    erase.hidden = asking;
    (asking ? yes : erase).focus();
  }
  const row = element(
    "div",
    { className: "row" },
    button("download", texts.download, download),
    erase,
  );
  const summary = element("summary", { id: "data", textContent: texts.dataTitle });
  return element("details", { "data-part": "data" }, summary, list, row, sure);
}
