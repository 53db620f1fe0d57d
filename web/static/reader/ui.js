/* What prompt, panel and guide share: making elements, the look, and how a dialog behaves. */

/** An element with properties (`textContent`, `onclick`) or attributes (`aria-label`) and children. */
export function element(name, properties = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (key in made) made[key] = value;
    else made.setAttribute(key, value);
  }
  made.append(...children);
  return made;
}

export function sheet(css) {
  const made = new CSSStyleSheet();
  made.replaceSync(css);
  return made;
}

/**
 * Opens a dialog, labelled by its `id="title"`, outside of the page's body, where the page's rules
 * and frameworks do not look. A modal one keeps the focus; the other leaves the page alone.
 */
export function openDialog(tag, { texts, css = "", modal = false, onEscape }) {
  const before = document.activeElement;
  const live = element("p", { className: "heard", "aria-live": "polite" });
  const host = element(tag, { dir: texts.dir, lang: texts.lang });
  const root = host.attachShadow({ mode: "open" });
  root.adoptedStyleSheets = [sheet(STYLE), sheet(css)];
  root.append(live);
  const dialog = {
    host,
    root,
    onEscape: onEscape || (() => dialog.close()),
    show(...nodes) {
      appear(); // a closed one, when there is more to say
      const focused = root.activeElement;
      // A new card each time: one that grows upwards would count as a jump of the page.
      const card = element(
        modal ? "dialog" : "section",
        { className: "card", tabIndex: -1, role: "dialog", "aria-labelledby": "title" },
        ...nodes,
      );
      dialog.card?.remove();
      dialog.card = card;
      root.append(card);
      if (modal) {
        card.addEventListener("cancel", (event) => {
          event.preventDefault();
          dialog.onEscape();
        });
        card.showModal();
      } else if (focused) card.focus();
    },
    announce: (text) => setTimeout(() => (live.textContent = text), 100),
    close() {
      const focused = root.activeElement;
      document.removeEventListener("keydown", onKey);
      host.remove();
      if (focused) before?.focus();
    },
  };
  const onKey = (event) => {
    const typing = event.target.closest?.("input, textarea, select, [contenteditable]");
    if (event.key === "Escape" && !event.defaultPrevented && !typing) dialog.onEscape();
  };
  function appear() {
    if (host.isConnected) return;
    if (!modal) document.addEventListener("keydown", onKey);
    document.documentElement.insertBefore(host, document.body);
  }
  appear();
  return dialog;
}

export const STYLE = `
:host {
  all: initial !important; display: contents !important;
  --paper: #fff; --ink: #1a1a1a; --faint: #595959; --line: #8a8a8a;
  --accent: var(--notifier-accent, #b3141f); --on-accent: var(--notifier-on-accent, #fff);
}
@media (prefers-color-scheme: dark) {
  :host {
    --paper: #202124; --ink: #f1f1f1; --faint: #bdc1c6;
    --accent: var(--notifier-accent-dark, #ff8a84); --on-accent: var(--notifier-on-accent-dark, #2b0507);
  }
}
* { box-sizing: border-box; }
[hidden] { display: none !important; }
.heard { position: fixed; clip-path: inset(50%); }
.card {
  font: 1rem/1.45 system-ui, sans-serif; overflow: auto; overflow-wrap: break-word;
  background: var(--paper); color: var(--ink); border: 1px solid transparent; border-radius: 14px;
  box-shadow: inset 0 4px var(--accent), 0 4px 32px #0005;
  padding: 1.25rem; max-height: calc(100dvh - 2rem); animation: rise .3s;
}
section.card {
  position: fixed; z-index: 2147483000; inset: auto .5rem calc(.5rem + env(safe-area-inset-bottom));
}
h2 { margin: 0 0 .4rem; font-size: 1.15rem; line-height: 1.3; text-wrap: balance; }
p { margin: 0; color: var(--faint); font-size: .95rem; }
.buttons { display: flex; flex-wrap: wrap; gap: .6rem; margin-top: 1rem; justify-content: end; }
button {
  min-height: 2.75rem; padding: .3rem 1.2rem; border-radius: 1.4rem; cursor: pointer;
  border: 1px solid var(--line); background: none; color: inherit; font: inherit; font-weight: 600;
}
.main { background: var(--accent); border-color: var(--accent); color: var(--on-accent); }
button:hover { text-decoration: underline; }
:focus-visible { outline: 3px solid var(--ink); outline-offset: 2px; }
.card:focus { outline: none; }
@media (max-width: 40em) { .buttons button { flex: 1 0 auto; } }
@media (min-width: 40em) {
  section.card { inset: auto auto 1.5rem; inset-inline-end: 1.5rem; width: 25rem; }
}
@keyframes rise { from { transform: translateY(1.5rem); opacity: 0; } }
@media (prefers-reduced-motion: reduce) { .card { animation: none; } }
`;
