/*
 * The reader's side on a publisher's page: decides when to ask, and stays subscribed. The rest
 * is loaded from /reader/ when it is needed; docs/embedding.md.
 */
(() => {
  "use strict";

  const SCOPE = "/notifier/"; // controls no page: a worker of the site's own is left alone
  const LANGUAGES = ["en", "fr", "es", "pt", "de", "ar", "ha", "sw"];
  const DAY = 24 * 60 * 60 * 1000;
  const PATIENCE = 20_000; // milliseconds with the service, in which it holds up everything else
  const PAUSES_AFTER_NO = [7 * DAY, 30 * DAY]; // after the third no it asks no more

  const RUNS = Symbol.for("notifier"); // on a page twice, it runs once
  if (window.self !== window.top || window[RUNS]) return;

  // A tag manager or an optimiser may run this from elsewhere than its own element.
  const script = [document.currentScript, ...document.scripts].find((script) =>
    /\/reader\.js(\?|$)/.test(script?.src),
  );
  const options = { ...script?.dataset, ...window.notifierSettings };
  const address = options.service || script?.src;
  const warn = (...words) => console.warn("notifier:", ...words);
  if (!address) return warn('set window.notifierSettings = { service: "https://…" } before it');
  const service = new URL(address, location.href).origin;
  window[RUNS] = true;

  const load = (name) => import(`${service}/reader/${name}.js`);
  const emit = (name, detail) =>
    document.dispatchEvent(new CustomEvent(`notifier:${name}`, { detail }));

  /** The panel in the page itself, whenever a page has it. */
  class Preferences extends HTMLElement {
    connectedCallback() {
      load("panel").then((panel) => panel.fill(reader, this), explain);
    }
    disconnectedCallback() {
      this.left?.();
    }
  }

  // ---- When to ask

  let started, view;

  async function start() {
    if (started) return;
    started = true;
    if (location.hash.startsWith("#notifier-alert=")) {
      load("landing").then(({ count }) => count(service), explain);
    }
    const state = await status();
    emit("ready", { status: state });
    customElements.define("notifier-preferences", Preferences);
    const adopts = options.adopt === "true" && isGranted() && !(await recall("optedOut"));
    if (state === "subscribed" || adopts) return staySubscribed();

    // Single-page apps change the page without loading one.
    const push = history.pushState;
    history.pushState = function (...change) {
      push.apply(this, change);
      onView().catch(explain);
    };
    addEventListener("popstate", () => onView().catch(explain));
    await onView();
  }

  async function onView() {
    const here = location.pathname + location.search;
    if (here === view) return;
    view = here;
    if (!(await mayAsk())) return;
    if (options.views > 1) {
      const views = ((await recall("views")) || 0) + 1;
      await remember("views", views);
      if (views < options.views) return;
    }
    await Promise.all([
      document.readyState === "complete" ||
        new Promise((resolve) => addEventListener("load", resolve)),
      new Promise((resolve) => setTimeout(resolve, options.delay * 1000 || 0)),
      scrolled(options.scroll || 0),
    ]);
    if (here === view && (await mayAsk())) await ask();
  }

  async function mayAsk() {
    if (options.prompt === "button") return false;
    if (!["unsubscribed", "needs-home-screen"].includes(await status())) return false;
    if (await recall("optedOut")) return false;
    const { times, at } = (await recall("declined")) || {};
    return !times || Date.now() > at + PAUSES_AFTER_NO[times - 1];
  }

  /** Resolves when the reader has come so far down the page, in per cent. */
  const scrolled = (percent) =>
    new Promise((resolve) => {
      const look = () => {
        const way = document.documentElement.scrollHeight - innerHeight;
        if (scrollY < (way * percent) / 100) return;
        removeEventListener("scroll", look);
        resolve();
      };
      addEventListener("scroll", look, { passive: true });
      look();
    });

  /** Shows what there is for this reader: mostly the soft prompt. */
  async function ask(how) {
    const state = await status();
    if (["subscribed", "unsupported"].includes(state)) await preferences();
    else if (state === "needs-home-screen") await (await load("guide")).showGuide(reader, how);
    else await (await load("prompt")).showPrompt(reader, how);
  }

  async function decline() {
    const { times = 0 } = (await recall("declined")) || {};
    await remember("declined", { times: times + 1, at: Date.now() });
    emit("declined");
  }

  // ---- Where the reader stands

  async function status() {
    if (!pushExists()) return needsHomeScreen() ? "needs-home-screen" : "unsupported";
    if (Notification.permission === "denied") return "denied";
    const subscribed =
      isGranted() &&
      !(await recall("optedOut")) &&
      ((await recall("optIn")) || (await currentSubscription()));
    return subscribed ? "subscribed" : "unsubscribed";
  }

  const pushExists = () =>
    isSecureContext &&
    "serviceWorker" in navigator &&
    "PushManager" in window &&
    "Notification" in window;

  const isGranted = () => pushExists() && Notification.permission === "granted";

  /** iOS from 16.4, in a browser that can put pages on the home screen. */
  function needsHomeScreen() {
    const { standalone, userAgent } = navigator;
    const browser = /Safari\//.test(userAgent) && !/GSA\//.test(userAgent);
    return standalone === false && browser && "adoptedStyleSheets" in document;
  }

  async function currentSubscription() {
    const registration = await navigator.serviceWorker.getRegistration(SCOPE);
    const ours = registration?.scope === location.origin + SCOPE;
    return ours ? registration.pushManager.getSubscription() : null;
  }

  /** Renews, once a day, what browser or service may have lost. */
  async function staySubscribed() {
    const { endpoint, recordedAt } = (await recall("optIn")) || {};
    const settled = endpoint && endpoint === (await currentSubscription())?.endpoint;
    if (!settled || Date.now() > recordedAt + DAY) await (await load("subscribing")).renew(reader);
  }

  // ---- The service, and its words

  async function call(method, path, body) {
    const response = await fetch(`${service}/api/v1/${path}`, {
      method,
      credentials: "omit",
      signal: AbortSignal.timeout?.(PATIENCE),
      headers: body ? { "Content-Type": "application/json" } : {},
      body: body && JSON.stringify(body),
    });
    const { ok, status } = response;
    if (ok) return status < 202 ? response.json() : null;
    throw Object.assign(new Error(`${service} answered ${status} to ${method} ${path}`), { status });
  }

  let configured;
  const config = async () => {
    try {
      return await (configured ||= call("GET", "config"));
    } catch (error) {
      configured = null;
      throw error;
    }
  };

  /** The texts of the prompt, or from languages/PART/; the publisher's own go first. */
  async function texts(part = "") {
    const wanted = [await recall("language"), document.documentElement.lang, ...navigator.languages];
    const codes = wanted.map((tag) => tag?.slice(0, 2).toLowerCase());
    const language = codes.find((code) => LANGUAGES.includes(code)) || "en";
    const module = await load(`languages/${part && `${part}/`}${language}`);
    const { publication } = await config();
    const all = { ...module.default, ...options.texts, ...options.texts?.[language] };
    for (const key in all) {
      if (all[key].replaceAll) all[key] = all[key].replaceAll("{publication}", publication);
    }
    return all;
  }

  /** Says in the console what is missing. */
  async function explain(error) {
    try {
      await (await load("explain")).explain(reader, error);
    } catch {
      warn(`${service} cannot be reached, or Content-Security-Policy forbids it`, error);
    }
  }

  // ---- Memory: the same small database as notifier-worker.js uses

  const result = (request) =>
    new Promise((resolve, reject) => {
      request.onsuccess = () => resolve(request.result);
      request.onerror = () => reject(request.error);
    });

  async function inState(mode, work) {
    const opening = indexedDB.open("notifier", 1);
    opening.onupgradeneeded = () => {
      opening.result.createObjectStore("state");
      opening.result.createObjectStore("alerts", { keyPath: "alert" });
    };
    const memory = await result(opening);
    try {
      return await result(work(memory.transaction("state", mode).objectStore("state")));
    } finally {
      memory.close(); // once what was written is safe
    }
  }

  const recall = (name) => inState("readonly", (state) => state.get(name));
  const remember = (name, value) => inState("readwrite", (state) => state.put(value, name));
  const forget = (name) => inState("readwrite", (state) => state.delete(name));

  // ---- What the modules and the page work with

  const optIn = async (choices) => (await load("subscribing")).optIn(reader, choices);
  const optOut = async () => (await load("subscribing")).optOut(reader);
  const preferences = async () => (await load("panel")).openPanel(reader);
  const reader = {
    ...{ service, options, config, texts, recall, remember, forget, call, emit, explain },
    ...{ currentSubscription, optIn, optOut, decline, preferences, status },
  };

  const action = (work) => async () => {
    if (!started) return warn(`waits for the event ${options.waitFor} or notifier.start()`);
    await work().catch(explain);
    return status();
  };

  window.notifier = {
    prompt: action(() => ask({ called: true })),
    // A browser lets a page ask only inside the click: nothing may be awaited before.
    subscribe: action(() =>
      ask({ called: true, question: pushExists() && Notification.requestPermission() }),
    ),
    unsubscribe: action(optOut),
    preferences: action(preferences),
    start: () => start().catch(explain),
    status: action(async () => {}),
  };

  document.addEventListener("click", (event) => {
    const name = event.target.closest?.("[data-notifier]")?.dataset.notifier;
    if (!["prompt", "subscribe", "preferences"].includes(name)) return;
    if (started) event.preventDefault();
    window.notifier[name]().catch(explain);
  });

  if (options.waitFor) {
    document.addEventListener(options.waitFor, window.notifier.start);
    addEventListener(options.waitFor, window.notifier.start);
  } else window.notifier.start();
})();
