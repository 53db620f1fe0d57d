/* The soft prompt, and what the reader is told after each answer. */

import { element, openDialog } from "./ui.js";

const PATIENCE = 5000; // then the browser has probably asked in the address bar only
const CONFIRMATION_STAYS = 8000;

let open = null;

/**
 * Asks, unless it is asking already. With `question`, the promise of the browser's own question
 * that the reader's click has raised, it goes on from there. `called` by the reader, it takes the
 * focus, and tells who has blocked us how to unblock.
 */
export async function showPrompt(reader, { question, called = Boolean(question) } = {}) {
  const texts = await reader.texts();
  open?.close();
  const dialog = openDialog("notifier-prompt", { texts });
  open = dialog;

  function say(title, text, ...buttons) {
    const row = buttons.map(([action, onclick, className = ""]) =>
      element("button", {
        type: "button",
        textContent: texts[action],
        "data-action": action,
        className,
        onclick,
      }),
    );
    dialog.show(
      element("h2", { id: "title", textContent: title }),
      element("p", { id: "text", textContent: text }),
      ...(row.length ? [element("div", { className: "buttons" }, ...row)] : []),
    );
    dialog.card.setAttribute("aria-describedby", "text");
    dialog.announce(`${title}. ${text}`);
  }

  const close = () => {
    dialog.close();
    if (open === dialog) open = null;
  };
  const closing = ["close", close];

  function conclude(name, help = "", ...buttons) {
    dialog.onEscape = close;
    say(texts[`${name}Title`], `${texts[name]} ${help}`.trim(), ...buttons, closing);
  }

  async function decline() {
    close();
    await reader.decline();
  }

  async function follow(asked) {
    reader.emit("accepted");
    dialog.onEscape = close;
    say(texts.title, texts.asking);
    const waiting = setTimeout(() => say(texts.title, texts.pending, closing), PATIENCE);
    try {
      const permission = await asked;
      clearTimeout(waiting);
      if (permission === "denied") {
        reader.emit("denied");
        return conclude("denied", texts[unblock()]);
      }
      if (permission !== "granted") {
        await reader.decline();
        return conclude("dismissed");
      }
      say(texts.title, texts.subscribing);
      await reader.optIn();
      conclude("done", "", ["choose", () => [close(), reader.preferences()]]);
      setTimeout(() => dialog.root.querySelector(":focus-visible, :hover") || close(), CONFIRMATION_STAYS);
    } catch (error) {
      clearTimeout(waiting);
      reader.explain(error);
      conclude("failed");
    }
  }

  if (question) return follow(question);
  if (Notification.permission === "denied") conclude("denied", texts[unblock()]);
  else {
    dialog.onEscape = decline;
    // The browser lets a page ask only inside the click: nothing may be awaited before.
    const accept = () => follow(Notification.requestPermission());
    say(texts.title, texts.offer, ["decline", decline], ["accept", accept, "main"]);
    reader.emit("prompted");
  }
  if (called) dialog.card.focus();
}

/** Which text tells how to unblock us in this browser. */
function unblock() {
  const agent = navigator.userAgent;
  if (navigator.standalone) return "unblockApple";
  if (/Android/.test(agent)) return "unblockAndroid";
  if (/Firefox/.test(agent)) return "unblockFirefox";
  return /Chrom/.test(agent) ? "unblockChrome" : "unblockSafari";
}
