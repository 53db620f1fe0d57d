/*
 * The reader's side on a publisher's page: decides when to ask, subscribes, and stays subscribed.
 * What is shown is loaded from /reader/ when it is needed.
 *
 *   <script src="https://alerts.example/reader.js" defer></script>
 *
 * The publisher's own site serves /notifier/sw.js, which imports our notifier-worker.js.
 */
(() => {
  "use strict";

  const SCOPE = "/notifier/"; // controls no page: a worker of the site's own is left alone
  const LANGUAGES = ["en", "fr", "es", "pt", "de", "ar", "ha", "sw"];
  const DAY = 24 * 60 * 60 * 1000;
  const SYNC_EVERY = DAY;
  const PAUSES_AFTER_NO = [7 * DAY, 30 * DAY]; // after the last no we ask no more

  // In a frame push does not exist; present twice on a page, it still runs once.
  if (window.self !== window.top || window.notifier) return;

  // ---- What the publisher says --------------------------------------------------------------

  // A tag manager or an optimiser may run this from elsewhere than its own element.
  const script = [document.currentScript, ...document.scripts].find((script) =>
    /\/reader\.js(\?|$)/.test(script?.src),
  );
  const options = { ...script?.dataset, ...window.notifierSettings };
  const service = options.service || script?.src;
  if (!service) {
    return warn('say where the service is: window.notifierSettings = { service: "https://…" }');
  }
  const SERVICE = new URL(service, location.href).origin;

  function warn(...words) {
    console.warn("notifier:", ...words);
  }

  // ---- Start ----------------------------------------------------------------------------------

  let started = false;
  let view = 0;
  let address;

  async function start() {
    if (started) return;
    started = true;
    countClickOnLanding();
    if (pushExists()) await chooseLanguage();
    const state = await status();
    emit("ready", { status: state });
    if (document.querySelector("notifier-preferences")) {
      (await load("panel")).definePanel(reader);
    }
    if (state === "subscribed") await staySubscribed();
    else if (options.adopt === "true" && (await isGranted()) && !(await recall("optedOut"))) {
      await staySubscribed();
    } else await followViews();
  }

  /** Looks at every page view, also those of pages that change without being loaded. */
  function followViews() {
    const push = history.pushState;
    history.pushState = function (...change) {
      push.apply(this, change);
      onView().catch(explain);
    };
    addEventListener("popstate", () => onView().catch(explain));
    return onView();
  }

  async function onView() {
    const here = location.pathname + location.search;
    if (here === address) return;
    address = here;
    const current = ++view;
    if (!(await mayAsk())) return;
    if (options.views > 1) {
      const views = ((await recall("views")) || 0) + 1;
      await remember("views", views);
      if (views < options.views) return;
    }
    await Promise.all([
      document.readyState === "complete" || heard(window, "load"),
      new Promise((resolve) => setTimeout(resolve, options.delay * 1000 || 0)),
      scrolled(options.scroll || 0),
    ]);
    if (current === view && (await mayAsk())) await ask();
  }

  async function mayAsk() {
    if (options.prompt === "button") return false;
    if (!["unsubscribed", "needs-home-screen"].includes(await status())) return false;
    if (await recall("optedOut")) return false;
    const { times = 0, at = 0 } = (await recall("declined")) || {};
    return times === 0 || Date.now() > at + (PAUSES_AFTER_NO[times - 1] || Infinity);
  }

  const heard = (target, name) =>
    new Promise((resolve) => target.addEventListener(name, resolve, { once: true }));

  /** Resolves when the reader has seen this much of the page's length, in per cent. */
  const scrolled = (percent) =>
    new Promise((resolve) => {
      const look = () => {
        const length = document.documentElement.scrollHeight - innerHeight;
        if (scrollY < (length * percent) / 100) return;
        removeEventListener("scroll", look);
        resolve();
      };
      addEventListener("scroll", look, { passive: true });
      look();
    });

  /** Safari shows our alerts without running a script, so the page counts that one was clicked. */
  function countClickOnLanding() {
    const alert = /^#notifier-alert=(\d+)$/.exec(location.hash)?.[1];
    if (!alert) return;
    fetch(`${SERVICE}/api/v1/alerts/${alert}/clicked`, {
      method: "POST",
      mode: "no-cors",
      credentials: "omit",
      keepalive: true,
    }).catch(() => {});
    history.replaceState(history.state, "", location.pathname + location.search);
  }

  // ---- What is shown ----------------------------------------------------------------------------

  const load = (name) => import(`${SERVICE}/reader/${name}.js`);

  /** Shows what there is to do for this reader: mostly the soft prompt. */
  async function ask(how) {
    const state = await status();
    if (state === "unsupported") warn("this browser has no push");
    else if (state === "subscribed") await preferences();
    else if (state === "needs-home-screen") (await load("guide")).showGuide(reader);
    else await (await load("prompt")).showPrompt(reader, how);
  }

  let language = "en";

  /** The reader's own choice, else the page's language, else the browser's. */
  async function chooseLanguage() {
    const wanted = [await recall("language"), document.documentElement.lang, ...navigator.languages];
    const codes = wanted.map((tag) => tag?.slice(0, 2).toLowerCase());
    language = codes.find((code) => LANGUAGES.includes(code)) || "en";
  }

  /** The texts of the prompt; of another part from languages/PART/, the publisher's own first. */
  async function texts(part) {
    await chooseLanguage();
    const [module, { publication }] = await Promise.all([
      load(`languages/${part ? `${part}/` : ""}${language}`),
      config(),
    ]);
    const all = { ...module.default, ...options.texts, ...options.texts?.[language] };
    for (const [key, text] of Object.entries(all)) {
      if (typeof text === "string") all[key] = text.replaceAll("{publication}", publication);
    }
    return all;
  }

  function emit(name, detail) {
    document.dispatchEvent(new CustomEvent(`notifier:${name}`, { detail }));
  }

  /** Says in the console what is missing. */
  async function explain(error) {
    try {
      await (await load("explain")).explain(reader, error);
    } catch {
      warn(`${SERVICE} cannot be reached, or the Content-Security-Policy forbids it`, error);
    }
  }

  // ---- Where a reader stands ----------------------------------------------------------------

  async function status() {
    if (!pushExists()) return needsHomeScreen() ? "needs-home-screen" : "unsupported";
    if (Notification.permission === "denied") return "denied";
    const ours =
      isGranted() &&
      !(await recall("optedOut")) &&
      ((await recall("optIn")) || (await currentSubscription()));
    return ours ? "subscribed" : "unsubscribed";
  }

  const isGranted = () => pushExists() && Notification.permission === "granted";

  function pushExists() {
    return (
      isSecureContext &&
      "indexedDB" in window &&
      "serviceWorker" in navigator &&
      "PushManager" in window &&
      "Notification" in window
    );
  }

  /** iOS from 16.4, in a browser whose pages can be put on the home screen. */
  function needsHomeScreen() {
    const { standalone, userAgent } = navigator;
    const browser = /Safari\//.test(userAgent) && !/GSA\//.test(userAgent);
    return standalone === false && browser && "adoptedStyleSheets" in document;
  }

  // ---- Subscribing ------------------------------------------------------------------------

  const subscribing = () => load("subscribing");
  const optIn = async (choices) => (await subscribing()).optIn(reader, choices);
  const optOut = async () => (await subscribing()).optOut(reader);

  /** Renews quietly what the browser or the service may have lost, at most once a day. */
  async function staySubscribed() {
    const { endpoint, recordedAt } = (await recall("optIn")) || {};
    const existing = await currentSubscription();
    if (existing && existing.endpoint === endpoint && Date.now() < recordedAt + SYNC_EVERY) return;
    await (await subscribing()).renew(reader);
  }

  async function currentSubscription() {
    const registration = await navigator.serviceWorker.getRegistration(SCOPE);
    const ours = registration?.scope === new URL(SCOPE, location.origin).href;
    return ours ? registration.pushManager.getSubscription() : null;
  }

  /** What shows the service that a subscription is this browser's. */
  async function proof() {
    const management_token = (await recall("optIn"))?.managementToken;
    if (management_token) return { management_token };
    const { endpoint, keys } = (await currentSubscription())?.toJSON() || {};
    return endpoint ? { endpoint, ...keys } : null;
  }

  async function decline() {
    const { times = 0 } = (await recall("declined")) || {};
    await remember("declined", { times: times + 1, at: Date.now() });
    emit("declined");
  }

  // ---- The service ------------------------------------------------------------------------

  let configured;

  function config() {
    configured ||= call("GET", "config");
    configured.catch(() => (configured = undefined));
    return configured;
  }

  async function call(method, path, body) {
    const response = await fetch(`${SERVICE}/api/v1/${path}`, {
      method,
      credentials: "omit",
      headers: body ? { "Content-Type": "application/json" } : {},
      body: body && JSON.stringify(body),
    });
    if (!response.ok) {
      const error = new Error(`the service answered ${response.status} to ${method} ${path}`);
      throw Object.assign(error, { status: response.status });
    }
    return response.status === 200 || response.status === 201 ? response.json() : null;
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
  const forget = (name) => inState("readwrite", (state) => state.delete(name));

  // ---- What the modules and the page work with -----------------------------------------------

  const reader = {
    service: SERVICE,
    options,
    publication: async () => (await config()).publication,
    config,
    texts,
    language: () => language,
    recall,
    remember,
    forget,
    call,
    proof,
    currentSubscription,
    optIn,
    optOut,
    decline,
    status,
    emit,
    explain,
    preferences,
  };

  async function preferences() {
    await (await load("panel")).openPanel(reader);
  }

  /** Does the work once the page lets us, tells the console what fails, and how it stands then. */
  const action = (work) => async () => {
    if (!started) return warn(`waits for the event ${options.waitFor} or notifier.start()`);
    try {
      await work();
    } catch (error) {
      await explain(error);
    }
    return status();
  };

  window.notifier = {
    prompt: action(() => ask({ called: true })),
    // The browser lets a page ask only inside the click: nothing may be awaited before.
    subscribe: action(() => ask({ question: pushExists() && Notification.requestPermission() })),
    unsubscribe: action(optOut),
    preferences: action(preferences),
    start: () => start().catch(explain),
    status,
  };

  document.addEventListener("click", (event) => {
    const name = event.target.closest?.("[data-notifier]")?.dataset.notifier;
    if (!["prompt", "subscribe", "preferences"].includes(name)) return;
    event.preventDefault();
    window.notifier[name]();
  });

  if (options.waitFor) {
    for (const target of [document, window]) {
      target.addEventListener(options.waitFor, window.notifier.start, { once: true });
    }
  } else window.notifier.start();
})();
