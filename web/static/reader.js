/*
 * The reader's side on a publisher's page: asks gently, subscribes, and stays subscribed.
 *
 *   <script src="https://alerts.example/reader.js" defer></script>
 *
 * The publisher's own site serves /notifier/sw.js, which imports our notifier-worker.js.
 */
(() => {
  "use strict";

  const WORKER = "/notifier/sw.js";
  const SCOPE = "/notifier/"; // controls no page: a worker of the site's own is left alone
  const SERVICE = new URL(document.currentScript.src).origin;

  const DAY = 24 * 60 * 60 * 1000;
  const PAUSE_AFTER_NO = 7 * DAY;
  const SYNC_EVERY = DAY;
  const CONFIRMATION_STAYS = 8000;

  const TEXTS = {
    title: (publication) => `Get Notifications from ${publication}`,
    offer: "Breaking news the moment it happens. You can stop at any time.",
    accept: "Yes please",
    decline: "No thanks",
    close: "Close",
    asking: "One moment: your browser asks you now.",
    subscribing: "One moment…",
    done: ["You are all set", (publication) => `You will get breaking news from ${publication}.`],
    denied: [
      "Notifications are blocked",
      "Your browser blocks notifications from this site. You can allow them again in the " +
        "site settings, beside the address.",
    ],
    dismissed: ["Maybe another time", "Nothing was switched on. We will not ask again for a while."],
    failed: [
      "That did not work yet",
      "Your browser could not be connected. We will try again by ourselves on your next visit.",
    ],
  };

  // ---- Start ------------------------------------------------------------------------------

  async function start() {
    if (!pushExists()) return;
    if (Notification.permission === "denied") return;
    const optIn = await recall("optIn");
    if (Notification.permission === "granted") {
      if (optIn || (await currentSubscription())) await staySubscribed();
      return;
    }
    const declined = await recall("declined");
    if (declined && Date.now() < declined.at + PAUSE_AFTER_NO) return;
    if (await currentSubscription()) return;
    const config = await fetchConfig();
    new Prompt(config).show();
  }

  function pushExists() {
    return (
      window.isSecureContext &&
      window.self === window.top &&
      "serviceWorker" in navigator &&
      "PushManager" in window &&
      "Notification" in window &&
      "indexedDB" in window
    );
  }

  // ---- Subscribing ------------------------------------------------------------------------

  /** Subscribes this browser and has the service record it; what fails is tried again later. */
  async function optIn(config) {
    await remember("optIn", {
      service: SERVICE,
      publication: config.publication,
      wantedAt: Date.now(),
    });
    await oneAtATime(async () => {
      const subscription = await subscribe(config.vapid_public_key);
      await record(config, subscription, { sections: [] });
    });
  }

  /** Renews quietly what the browser or the service may have lost, at most once a day. */
  async function staySubscribed() {
    await oneAtATime(async () => {
      const optIn = (await recall("optIn")) || {};
      const existing = await currentSubscription();
      const settled = existing && optIn.recordedAt && optIn.endpoint === existing.endpoint;
      if (settled && Date.now() < optIn.recordedAt + SYNC_EVERY) return;
      const config = await fetchConfig();
      const subscription = await subscribe(config.vapid_public_key);
      const moved = optIn.managementToken && optIn.endpoint !== subscription.endpoint;
      if (moved && (await renew(config, subscription, optIn))) return;
      await record(config, subscription);
    });
  }

  /** The browser's subscription with the service's key, made or replaced where need be. */
  async function subscribe(key) {
    const registration = await navigator.serviceWorker.register(WORKER, { scope: SCOPE });
    await activeWorker(registration);
    const existing = await registration.pushManager.getSubscription();
    if (existing && keyOf(existing) === key) return existing;
    if (existing) await existing.unsubscribe();
    return registration.pushManager.subscribe({ userVisibleOnly: true, applicationServerKey: key });
  }

  /** Resolves when the registration can receive pushes; it controls no page, so never `ready`. */
  function activeWorker(registration) {
    const worker = registration.installing || registration.waiting || registration.active;
    return new Promise((resolve, reject) => {
      const look = () => {
        if (registration.active) resolve(registration.active);
        else if (worker.state === "redundant") reject(new Error("The worker was not installed"));
      };
      worker.addEventListener("statechange", look);
      look();
    });
  }

  async function currentSubscription() {
    const registration = await navigator.serviceWorker.getRegistration(SCOPE);
    const ours = registration && registration.scope === new URL(SCOPE, location.origin).href;
    return ours ? registration.pushManager.getSubscription() : null;
  }

  // ---- The service ------------------------------------------------------------------------

  async function fetchConfig() {
    return callService("GET", "config");
  }

  /** Tells the service about the subscription; choices that are left out stay as they are. */
  async function record(config, subscription, choices = {}) {
    const answer = await callService("POST", "subscriptions", {
      subscription: subscription.toJSON(),
      language: pageLanguage(),
      vapid_public_key: config.vapid_public_key,
      ...choices,
    });
    await rememberRecorded(config, subscription, answer.management_token);
  }

  /** Moves the recorded opt-in to a new endpoint; false when the service does not know it. */
  async function renew(config, subscription, optIn) {
    try {
      await callService("POST", "subscriptions/renew", {
        old: { management_token: optIn.managementToken },
        subscription: subscription.toJSON(),
        vapid_public_key: config.vapid_public_key,
      });
    } catch (error) {
      if (error.status === 404 || error.status === 409) return false;
      throw error;
    }
    await rememberRecorded(config, subscription, optIn.managementToken);
    return true;
  }

  function rememberRecorded(config, subscription, managementToken) {
    return remember("optIn", {
      service: SERVICE,
      publication: config.publication,
      endpoint: subscription.endpoint,
      vapidPublicKey: config.vapid_public_key,
      managementToken,
      recordedAt: Date.now(),
    });
  }

  async function callService(method, path, body) {
    const response = await fetch(`${SERVICE}/api/v1/${path}`, {
      method,
      credentials: "omit",
      headers: body ? { "Content-Type": "application/json" } : {},
      body: body && JSON.stringify(body),
    });
    if (!response.ok) {
      throw Object.assign(new Error(`The service answered ${response.status}`), {
        status: response.status,
      });
    }
    return response.json();
  }

  function keyOf(subscription) {
    const bytes = new Uint8Array(subscription.options.applicationServerKey || []);
    return btoa(String.fromCharCode(...bytes))
      .replace(/\+/g, "-")
      .replace(/\//g, "_")
      .replace(/=/g, "");
  }

  function pageLanguage() {
    return (document.documentElement.lang || navigator.language || "en").slice(0, 35);
  }

  /** Two tabs must not record the same browser at the same time: each answer has a new token. */
  function oneAtATime(work) {
    return navigator.locks ? navigator.locks.request("notifier", work) : work();
  }

  // ---- Memory: the same small database as notifier-worker.js uses --------------------------

  function openMemory() {
    return new Promise((resolve, reject) => {
      const request = indexedDB.open("notifier", 1);
      request.onupgradeneeded = () => {
        request.result.createObjectStore("state");
        request.result.createObjectStore("alerts", { keyPath: "alert" });
      };
      request.onsuccess = () => resolve(request.result);
      request.onerror = () => reject(request.error);
    });
  }

  async function inState(mode, work) {
    const memory = await openMemory();
    try {
      return await new Promise((resolve, reject) => {
        const transaction = memory.transaction("state", mode);
        const request = work(transaction.objectStore("state"));
        transaction.oncomplete = () => resolve(request.result);
        transaction.onabort = () => reject(transaction.error);
      });
    } finally {
      memory.close();
    }
  }

  const recall = (name) => inState("readonly", (state) => state.get(name));
  const remember = (name, value) => inState("readwrite", (state) => state.put(value, name));

  // ---- The soft prompt --------------------------------------------------------------------

  class Prompt {
    constructor(config) {
      this.config = config;
      this.host = document.createElement("notifier-prompt");
      this.host.dir = "auto";
      const root = this.host.attachShadow({ mode: "open" });
      const style = new CSSStyleSheet();
      style.replaceSync(STYLE);
      root.adoptedStyleSheets = [style];

      this.title = element("h2", { id: "title" });
      this.text = element("p", { id: "text" });
      this.buttons = element("div", { className: "buttons" });
      this.panel = element("section", { className: "panel", tabIndex: -1 });
      this.panel.setAttribute("role", "dialog");
      this.panel.setAttribute("aria-labelledby", "title");
      this.panel.setAttribute("aria-describedby", "text");
      // Read out when it appears and when it answers, without taking the focus from the page.
      const words = element("div", { className: "words" });
      words.setAttribute("aria-live", "polite");
      words.append(this.title, this.text);
      this.panel.append(words, this.buttons);
      root.append(this.panel);
      this.onKey = (event) => {
        const elsewhere = event.target.closest("input, textarea, select, [contenteditable]");
        if (event.key === "Escape" && !event.defaultPrevented && !elsewhere) this.escape();
      };
    }

    show() {
      // First in the document, so that the keyboard reaches it first; fixed, so nothing moves.
      document.body.prepend(this.host);
      document.addEventListener("keydown", this.onKey);
      this.escape = () => this.decline();
      this.say(
        [TEXTS.title(this.config.publication), TEXTS.offer],
        [
          ["decline", TEXTS.decline, () => this.decline()],
          ["accept", TEXTS.accept, () => this.accept()],
        ],
      );
    }

    say([title, text], buttons = []) {
      this.title.textContent = title;
      this.text.textContent = typeof text === "function" ? text(this.config.publication) : text;
      this.buttons.replaceChildren(
        ...buttons.map(([action, label, onClick]) => {
          const button = element("button", { type: "button", textContent: label });
          button.dataset.action = action;
          button.addEventListener("click", onClick);
          return button;
        }),
      );
    }

    /** Must run inside the click: browsers let a page ask only then. */
    async accept() {
      const answer = Notification.requestPermission();
      const title = TEXTS.title(this.config.publication);
      this.escape = () => {};
      this.say([title, TEXTS.asking]);
      this.panel.focus();
      try {
        const permission = await answer;
        if (permission === "denied") return this.conclude(TEXTS.denied);
        if (permission !== "granted") {
          await rememberNo();
          return this.conclude(TEXTS.dismissed);
        }
        this.say([title, TEXTS.subscribing]);
        await optIn(this.config);
        this.conclude(TEXTS.done);
        setTimeout(() => this.close(), CONFIRMATION_STAYS);
      } catch (error) {
        console.warn("notifier: opting in failed", error);
        this.conclude(TEXTS.failed);
      }
    }

    async decline() {
      this.close();
      await rememberNo();
    }

    conclude(words) {
      this.escape = () => this.close();
      this.say(words, [["close", TEXTS.close, () => this.close()]]);
      if (this.host.shadowRoot.activeElement) this.buttons.firstElementChild.focus();
    }

    close() {
      document.removeEventListener("keydown", this.onKey);
      this.host.remove();
    }
  }

  const rememberNo = () => remember("declined", { at: Date.now() });

  function element(name, properties) {
    return Object.assign(document.createElement(name), properties);
  }

  const STYLE = `
    :host {
      --paper: #fff; --ink: #1a1a1a; --faint: #595959; --line: #d9d9d9;
      --accent: #b3141f; --on-accent: #fff;
      all: initial; position: fixed; z-index: 2147483000; inset: auto 0 0 0;
      font: 16px/1.45 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif;
    }
    @media (prefers-color-scheme: dark) {
      :host { --paper: #202124; --ink: #f1f1f1; --faint: #b9bcc1; --line: #4a4d52;
        --accent: #ff8a84; --on-accent: #2b0507; }
    }
    * { box-sizing: border-box; }
    .panel {
      background: var(--paper); color: var(--ink); border-top: 4px solid var(--accent);
      border-radius: 16px 16px 0 0; box-shadow: 0 -6px 32px rgb(0 0 0 / .28);
      padding: 20px 20px calc(20px + env(safe-area-inset-bottom));
      max-height: 90vh; overflow: auto; animation: rise .35s ease-out;
    }
    .panel:focus { outline: none; }
    h2 { margin: 0 0 6px; font-size: 1.15rem; line-height: 1.3; font-weight: 700; text-wrap: balance; }
    p { margin: 0; color: var(--faint); font-size: .95rem; }
    .buttons { display: flex; gap: 10px; margin-top: 16px; }
    .buttons:empty { display: none; }
    button {
      flex: 1; min-height: 48px; padding: 0 18px; border-radius: 999px; cursor: pointer;
      border: 1px solid var(--line); background: none; color: var(--ink);
      font: inherit; font-weight: 600;
    }
    button[data-action="accept"] {
      background: var(--accent); border-color: var(--accent); color: var(--on-accent);
    }
    button:hover { filter: brightness(.94); text-decoration: underline; }
    button:focus-visible { outline: 3px solid var(--ink); outline-offset: 2px; }
    @media (min-width: 640px) {
      :host { inset: auto 24px 24px auto; width: 400px; max-width: calc(100vw - 48px); }
      .panel { border-radius: 14px; padding: 20px 22px 22px; }
      .buttons { justify-content: flex-end; }
      button { flex: none; min-height: 44px; }
    }
    @keyframes rise { from { transform: translateY(24px); opacity: 0; } }
    @media (prefers-reduced-motion: reduce) { .panel { animation: none; } }
    @media (forced-colors: active) { .panel { border: 2px solid; } }
  `;

  // Present twice on a page, by a tag manager and by hand, it still runs once.
  const started = Symbol.for("notifier.started");
  if (window[started]) return;
  window[started] = true;
  start().catch((error) => console.warn("notifier:", error));
})();
