/* The soft prompt, and what the reader is told after each answer. */

import { element, openDialog } from "./ui.js";

const PATIENCE = 5000; // then the browser has probably asked in its address bar only
const CONFIRMATION_STAYS = 8000;

let open;

/**
 * Asks, unless it is asking already. With `question`, the browser's own question that a click has
 * raised, it goes on from there. `called` by the reader it takes the focus.
 */
export async function showPrompt(reader, { question, called } = {}) {
  if (open?.host.isConnected && !called) return;
  const texts = await reader.texts();
  open?.close();
  const dialog = (open = openDialog("notifier-prompt", { texts }));
  const closing = ["close", dialog.close];

  function say(title, text, ...buttons) {
    if (dialog !== open) return; // asked again meanwhile
    // Escape answers the browser's question too, and Firefox lets the page hear it.
    dialog.onEscape = buttons[0]?.[1] || (() => {});
    dialog.show(
      element("h2", { id: "title", textContent: title }),
      element("p", { textContent: text }),
      element(
        "div",
        { className: "buttons", hidden: !buttons.length },
        ...buttons.map(([action, onclick, className = ""]) =>
          element("button", { className, textContent: texts[action], onclick, "data-action": action }),
        ),
      ),
    );
    dialog.announce(`${title}. ${text}`);
  }

  const tell = (name, ...buttons) => say(texts[`${name}Title`], texts[name], closing, ...buttons);

  async function tellDenied() {
    const { unblock } = await import("./unblock.js");
    say(texts.deniedTitle, `${texts.denied} ${await unblock(reader)}`, closing);
  }

  function decline() {
    dialog.close();
    reader.decline();
  }

  async function follow(asked) {
    reader.emit("accepted");
    say(texts.title, texts.asking);
    const waiting = setTimeout(() => say(texts.title, texts.pending, closing), PATIENCE);
    const permission = await asked;
    clearTimeout(waiting);
    if (permission === "denied") {
      reader.emit("denied");
      return tellDenied();
    }
    if (permission === "default") {
      await reader.decline();
      return tell("dismissed");
    }
    say(texts.title, texts.subscribing, closing);
    try {
      await reader.optIn();
    } catch (error) {
      tell("failed");
      return reader.explain(error);
    }
    tell("done", ["choose", () => [dialog.close(), reader.preferences().catch(reader.explain)]]);
    const idle = () => !dialog.root.querySelector(":focus-visible, .card:hover");
    setTimeout(() => idle() && dialog.close(), CONFIRMATION_STAYS);
  }

  if (question) await follow(question);
  else if (Notification.permission === "denied") await tellDenied();
  else {
    // A browser lets a page ask only inside the click: nothing may be awaited before.
    const accept = () => follow(Notification.requestPermission()).catch(reader.explain);
    say(texts.title, texts.offer, ["decline", decline], ["accept", accept, "main"]);
    reader.emit("prompted");
  }
  if (called) dialog.card.focus();
}
