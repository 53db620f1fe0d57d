/* The reader's own page: a dialog, and <notifier-preferences> on a page of the publisher's. */

import { alertsPart, mutedPart } from "./panel/alerts.js";
import { dataPart, testPart } from "./panel/browser.js";
import { levelPart, sectionsPart, stopPart } from "./panel/choices.js";
import { languagePart, quietPart } from "./panel/device.js";
import { PANEL_STYLE } from "./panel/look.js";
import { button } from "./panel/parts.js";
import { openSaver } from "./panel/saving.js";
import { proofOf } from "./proof.js";
import { element, openDialog, sheet, STYLE } from "./ui.js";

const REDRAWN_AFTER = ["subscribed", "unsubscribed"];
const UNKNOWN = 404;

let isOpen = false;

/** Opens the panel over the page, unless it is open. */
export async function openPanel(reader) {
  if (isOpen) return;
  isOpen = true;
  const closed = new AbortController();
  const close = () => {
    isOpen = false;
    closed.abort();
    dialog?.close();
  };
  let dialog;
  try {
    const texts = await allTexts(reader);
    dialog = openDialog("notifier-panel", {
      texts,
      css: PANEL_STYLE,
      modal: true,
      onEscape: close,
    });
    const { signal } = closed;
    const panel = drawPanel(reader, dialog.host, dialog.root, { texts, close, signal });
    dialog.show(...panel.nodes);
    dialog.card.classList.add("panel");
    await panel.draw();
  } catch (error) {
    close();
    throw error;
  }
}

/** Shows the panel in <notifier-preferences>, for as long as that is in the page. */
export function fill(reader, host) {
  host.left?.(); // it was moved
  if (!host.isConnected) return;
  const left = new AbortController();
  host.left = () => left.abort();
  const root = host.shadowRoot || host.attachShadow({ mode: "open" });
  root.adoptedStyleSheets = [sheet(STYLE), sheet(PANEL_STYLE)];
  const panel = drawPanel(reader, host, root, { signal: left.signal });
  root.replaceChildren(element("div", { className: "card panel page" }, ...panel.nodes));
  panel.draw().catch(reader.explain);
}

const allTexts = async (reader) => ({
  ...(await reader.texts()),
  ...(await reader.texts("panel")),
});

/** The panel's nodes, and `draw`, which fills them by where the reader stands. */
function drawPanel(reader, host, root, { texts, close, signal }) {
  const title = element("h2", { id: "title", tabIndex: -1, textContent: texts?.panelTitle || "" });
  const said = element("p", { className: "said", role: "status" });
  const leave = element("button", { className: "close", type: "button", textContent: "×" });
  const body = element("div", { className: "body" });
  let drawing = 0;
  let kept; // the choices of a reader who has stopped, for coming back

  function say(text, action) {
    said.replaceChildren(text, ...(action ? [" ", button("again", ...action)] : []));
  }

  async function draw() {
    const current = ++drawing;
    texts = await allTexts(reader);
    host.lang = texts.lang;
    host.dir = texts.dir;
    title.textContent = texts.panelTitle;
    leave.setAttribute("aria-label", texts.close);
    const parts = await partsFor(await reader.status());
    if (signal.aborted || current !== drawing) return;
    const focused = root.activeElement?.id;
    body.replaceChildren(...parts);
    // What had the focus may be gone: the reader is put where reading goes on.
    if (focused && !root.activeElement) (root.getElementById(focused) || title).focus();
  }

  async function partsFor(state) {
    const context = { reader, texts, say, draw, time: timeFormat(texts.lang) };
    if (state === "subscribed") return subscribed(context);
    return [await invitation(state), await alertsPart(context), await languagePart(context)];
  }

  async function invitation(state) {
    if (state === "denied") {
      const { unblock } = await import("./unblock.js");
      return offer(`${texts.denied} ${await unblock(reader)}`);
    }
    if (state === "needs-home-screen") {
      const { showGuide } = await import("./guide.js");
      const show = () => [close?.(), showGuide(reader, { called: true }).catch(reader.explain)];
      return offer(texts.homeScreen, texts.showHow, show);
    }
    if (state === "unsupported") return offer(texts.unsupported);
    const again = await reader.recall("optedOut");
    return offer(texts.off, again ? texts.startAgain : texts.start, start);
  }

  async function subscribed(context) {
    let held;
    let config;
    const local = async () => [await quietPart(context), await languagePart(context)];
    try {
      const proof = await proofOf(reader);
      if (!proof) throw Object.assign(new Error("not subscribed here"), { status: UNKNOWN });
      const shown = reader.call("POST", "subscriptions/show", proof);
      [{ subscription: held }, config] = await Promise.all([shown, reader.config()]);
    } catch (error) {
      if (error.status === UNKNOWN) {
        return [offer(texts.unknown, texts.reconnect, connect), ...(await local())];
      }
      reader.explain(error);
      return [offer(texts.away, texts.again, draw), ...(await local())];
    }
    const updates = [];
    const update = (now) => {
      kept = { sections: now.sections, level: now.level };
      updates.forEach((each) => each(now));
    };
    const save = openSaver(reader, { texts, say, held, update, draw, signal });
    Object.assign(context, { config, save, stop, updating: (each) => updates.push(each) });
    const parts = [
      levelPart(context),
      sectionsPart(context),
      stopPart(context),
      await quietPart(context),
      mutedPart(context),
      await alertsPart(context),
      await languagePart(context),
      testPart(context),
      dataPart(context),
    ];
    update(held);
    return parts;
  }

  function offer(text, action, onclick) {
    const nodes = [element("p", { textContent: text })];
    if (action) nodes.push(button("offer", action, onclick, { className: "main" }));
    return element("div", { className: "offer" }, ...nodes);
  }

  // A browser lets a page ask only inside the click: nothing may be awaited before.
  const start = () => follow(Notification.requestPermission());

  async function follow(asked) {
    say(texts.asking);
    const permission = await asked;
    say("");
    if (permission === "granted") return connect();
    if (permission === "default") return say(texts.dismissed);
    reader.emit("denied");
    await draw();
  }

  async function connect() {
    say(texts.subscribing);
    try {
      await reader.optIn(kept); // then it is drawn anew, by the event
      say(texts.saved);
    } catch (error) {
      say(texts.failed, [texts.again, connect]);
      reader.explain(error);
    }
  }

  /** Ends it; with `everything`, what this device remembers as well. */
  async function stop({ everything = false } = {}) {
    say(texts.saving);
    const proof = await proofOf(reader);
    if (everything) {
      kept = undefined;
      for (const name of ["language", "quietHours", "declined", "views"]) await reader.forget(name);
    }
    await reader.optOut();
    say((await isForgotten(proof)) ? texts.stopped : texts.stoppedHere);
  }

  /** Whether the service has deleted what it held: then it does not know the proof any more. */
  async function isForgotten(proof) {
    try {
      if (proof) await reader.call("POST", "subscriptions/show", proof);
      return !proof;
    } catch (error) {
      return error.status === UNKNOWN;
    }
  }

  for (const name of REDRAWN_AFTER) {
    document.addEventListener(`notifier:${name}`, () => draw().catch(reader.explain), { signal });
  }
  leave.onclick = close;
  const head = element("div", { className: "head" }, title, ...(close ? [leave] : []));
  return { draw, nodes: [head, body, said] };
}

/** Moments as the reader's own region writes them, where that is in the same language. */
function timeFormat(language) {
  const regional = navigator.languages.find((tag) => tag.slice(0, 2).toLowerCase() === language);
  const formatter = new Intl.DateTimeFormat(regional || language, {
    weekday: "short",
    day: "numeric",
    month: "short",
    hour: "2-digit",
    minute: "2-digit",
  });
  return (moment) => formatter.format(new Date(moment));
}
