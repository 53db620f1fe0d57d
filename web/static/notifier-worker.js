/*
 * Shows what arrives and opens it when it is clicked. A publisher's /notifier/sw.js imports this.
 *
 * It controls no page and has no fetch handler. Browsers take the right to push away from sites
 * that receive messages without showing anything, so every message ends in a notification.
 */
(() => {
  "use strict";

  const STORAGE_PATIENCE = 500; // milliseconds; showing an alert never waits longer for storage
  const REMEMBERED_ALERTS = 50;
  const OWN_KINDS = ["welcome", "test"]; // for this one reader
  // What the page said before these, a tab that is open may still say.
  const KINDS_OF_NEWER_PAGES = ["update", "correction", "withdrawal"];
  const AUDIBLE_KINDS = ["breaking", "correction", ...OWN_KINDS];
  const HOUR = 60 * 60 * 1000;
  const DAY = 24 * HOUR;
  // A million browsers get an alert in the same seconds. What they tell the service because of it
  // comes spread over this time, in milliseconds, and over many alerts.
  const SPREAD = 10_000;
  // Chromium keeps the next message back until all that came of this one is done.
  const TELLING_PATIENCE = SPREAD + 2_000;
  const ASKING_PATIENCE = 20_000; // pages wait for what this worker has begun
  const SAY_AGAIN_AFTER = 30 * DAY;
  const SAY_AGAIN_CHANCE = 1 / 20;

  const REFUSED = [404, 422]; // the same answer would come however often it is asked

  const HOME = `${self.location.origin}/`;

  /** Alerts shown since this worker started, in case storage is slow or away. */
  const shownHere = new Map();

  self.addEventListener("install", () => self.skipWaiting());
  self.addEventListener("push", (event) => event.waitUntil(receive(event)));
  self.addEventListener("notificationclick", (event) => {
    event.notification.close();
    const data = event.notification.data || {};
    event.waitUntil(event.action === "mute" ? mute(data.story) : open(data));
  });
  self.addEventListener("pushsubscriptionchange", (event) => event.waitUntil(resubscribe(event)));
  self.addEventListener("sync", (event) => event.waitUntil(tellMutes()));

  // ---- A message arrives ------------------------------------------------------------------

  async function receive(event) {
    const message = read(event);
    const [optIn, quietHours, mutes, remembered] = await Promise.all([
      patiently(recall("optIn")),
      patiently(recall("quietHours")),
      patiently(recall("mutes")),
      patiently(rememberedAlerts()),
    ]);
    if (!message) return showUnreadable(optIn);

    const { story, revision, kind } = message.data;
    const newest = [...(remembered || []), ...shownHere.values()]
      .map((shown) => shown.notification)
      .filter((notification) => isOfStory(notification.data, message.data))
      .sort((a, b) => b.data.revision - a.data.revision)[0];
    // Messages may come twice and overtake each other: what is newer must not be hidden.
    const isNew = !newest || newest.data.revision < revision;
    const notification = isNew ? prepared(message, optIn) : newest;
    const shown = { alert: notification.data.alert, shownAt: Date.now(), notification };
    const muted = ["breaking", "update"].includes(kind) && mutes?.includes(story);
    // An update that takes the place of an alert which never came is the first that is heard.
    const sounds = AUDIBLE_KINDS.includes(kind) || (kind === "update" && !newest);
    const audible = isNew && sounds && !muted && !isQuiet(quietHours);
    // From here to showNotification nothing is awaited, so two messages cannot both be first.
    shownHere.set(shown.alert, shown);
    const showing = show(notification, { audible, optIn }).catch(() => showUnreadable(optIn));
    await Promise.allSettled([showing, patiently(rememberAlert(shown))]);
    const counting = isNew && report(notification, "shown");
    const telling = Promise.allSettled([counting, tellMutes(), sayAgain(optIn)]);
    await patiently(telling, TELLING_PATIENCE);
  }

  /**
   * Whether what was shown is of the story that a message is of. A service whose database was
   * restored from a copy gives stories the numbers of others once more: what is older by the clock
   * and not by its revision was another's.
   */
  function isOfStory(shown, { story, revision, sent_at }) {
    const since = Date.parse(sent_at) - Date.parse(shown.sent_at);
    return shown.story === story && !(shown.revision >= revision && since > HOUR);
  }

  /** The notification in a push event, in both forms in which it is sent; null if unreadable. */
  function read(event) {
    try {
      const source = event.notification || event.data.json().notification;
      const { title, body, lang, dir, icon, image, tag, timestamp, actions, data } = source;
      if (!title || !data.alert || !data.story) return null;
      const options = { body, lang, dir, icon, image, tag, timestamp, actions };
      // Safari opens this link by itself, and wants what is shown instead to have one, too.
      const { navigate } = event.notification || {};
      return { title, options: { ...options, navigate }, data };
    } catch {
      return null;
    }
  }

  /** A message as it is shown and remembered: a click on it needs neither storage nor network. */
  function prepared({ title, options, data }, optIn) {
    const { url, rate } = data.count || {};
    const counted = optIn && url?.startsWith(`${optIn.service}/`) && Math.random() < rate;
    // A reader's own message leads to the site of the opt-in; the service knows no site of readers.
    const leadsTo = (link) => (OWN_KINDS.includes(data.kind) ? HOME : acceptableUrl(link, optIn));
    const checked = { url: leadsTo(data.url), count: counted ? url : null };
    const navigate = options.navigate && leadsTo(options.navigate);
    return { title, options: { ...options, navigate }, data: { ...data, ...checked } };
  }

  async function show({ title, options, data }, { audible, optIn }) {
    const expired = Date.parse(data.expires_at) < Date.now();
    const body = expired ? `${timeOf(data.sent_at, options.lang)} · ${options.body}` : options.body;
    await self.registration.showNotification(title, {
      ...withoutEmpty(options),
      body,
      badge: optIn ? `${optIn.service}/static/badge-96.png` : undefined,
      tag: options.tag || data.story,
      renotify: audible && !expired,
      silent: audible && !expired ? null : true,
      data,
    });
  }

  function showUnreadable(optIn) {
    const { host } = self.location;
    return self.registration.showNotification(optIn?.publication || host, {
      body: host,
      tag: "notifier",
      silent: true,
      data: { url: HOME },
    });
  }

  /** Whether it is night for this reader, who has set from when to when by this device's clock. */
  function isQuiet(hours) {
    if (!hours) return false;
    const { from, to } = hours;
    const now = new Date().toTimeString().slice(0, "00:00".length);
    return from <= to ? from <= now && now < to : from <= now || now < to;
  }

  function timeOf(moment, language) {
    const format = { weekday: "short", hour: "2-digit", minute: "2-digit" };
    return new Date(moment).toLocaleString(language || undefined, format);
  }

  function withoutEmpty(options) {
    return Object.fromEntries(Object.entries(options).filter(([, value]) => value));
  }

  // ---- A notification is clicked ----------------------------------------------------------

  /**
   * Brings the tab that shows the article to the front, or opens one. Asks nobody first. It can
   * have no tab loaded anew, as it controls none.
   */
  async function open({ url = HOME, ...data }) {
    const tabs = await self.clients.matchAll({ type: "window", includeUncontrolled: true });
    const tab =
      !KINDS_OF_NEWER_PAGES.includes(data.kind) &&
      tabs.find((tab) => pageOf(tab.url) === pageOf(url));
    try {
      await (tab ? tab.focus() : self.clients.openWindow(url));
    } catch {
      // The browser does not let us bring it to the front: open it anew.
      if (tab) await self.clients.openWindow(url);
    }
    await Promise.allSettled([report({ data }, "clicked"), tellMutes()]);
  }

  /** What of a URL says which page it is: neither the fragment nor where the reader came from. */
  function pageOf(url) {
    const page = new URL(url);
    page.hash = "";
    for (const name of [...page.searchParams.keys()]) {
      if (name.startsWith("utm_")) page.searchParams.delete(name);
    }
    page.search = page.searchParams.toString();
    return page.href;
  }

  /**
   * The URL if it leads to this site, or to where the service lets alerts lead; else the home page.
   * No host named in the service's list stands for any; before that list is known, none is let in.
   */
  function acceptableUrl(text, optIn) {
    try {
      const url = new URL(text);
      const { protocol, host, hostname } = url;
      const { hosts } = optIn || {};
      const listed = hosts?.includes(host) || hosts?.includes(hostname);
      const own = [self.location.origin, optIn?.service].includes(url.origin);
      const secure = protocol === "https:" && (listed || hosts?.length === 0);
      const local = protocol === "http:" && /(^|\.)localhost$/.test(hostname) && listed;
      return own || secure || local ? url.href : HOME;
    } catch {
      return HOME;
    }
  }

  // ---- What the service is told -------------------------------------------------------------

  /** Counts, unnamed, that a notification was shown or clicked, if it is one of those to count. */
  async function report({ data }, what) {
    if (!data.count) return;
    if (what === "shown") await someTime();
    // Without a policy of its own, that of the site may keep back from where it comes, and then the
    // service does not count it.
    const request = { method: "POST", mode: "no-cors", credentials: "omit", keepalive: true };
    await fetch(`${data.count}/${what}`, { ...request, referrerPolicy: "strict-origin" });
  }

  /** No more of this story. Until the service has heard of it, what still comes makes no sound. */
  async function mute(story) {
    await alter("mutes", (mutes) => [...new Set([...mutes, story])]);
    await tellMutes().catch(() => self.registration.sync?.register("mutes"));
  }

  /** What could not be told without network is told at the next occasion. */
  async function tellMutes() {
    for (const story of (await recall("mutes")) || []) {
      const { service, managementToken: management_token } = (await recall("optIn")) || {};
      if (!service) return; // opted out since
      const proof = management_token ? { management_token } : proofOf(await subscription());
      await ask(service, "PATCH", "subscriptions", { ...proof, mute: story }).catch((error) => {
        if (!REFUSED.includes(error.status)) throw error;
      });
      await alter("mutes", (mutes) => mutes.filter((muted) => muted !== story));
    }
  }

  /** Now and then tells that this browser is there, though its reader never comes to the site. */
  async function sayAgain({ recordedAt } = {}) {
    const due = recordedAt && recordedAt + SAY_AGAIN_AFTER < Date.now();
    if (!due || Math.random() >= SAY_AGAIN_CHANCE) return;
    await someTime();
    await oneAtATime(async () => record(await subscription()));
  }

  /** The browser has replaced the subscription, or taken it away: the reader keeps it. */
  async function resubscribe(event) {
    await oneAtATime(async () => {
      const optIn = await recall("optIn");
      // Not recorded yet: the next visit does it.
      if (!optIn?.vapidPublicKey || (await recall("optedOut"))) return;
      const replacement =
        event.newSubscription ||
        (await subscription()) ||
        (await self.registration.pushManager.subscribe({
          userVisibleOnly: true,
          applicationServerKey: optIn.vapidPublicKey,
        }));
      await record(replacement, event.oldSubscription);
    });
  }

  /** Has the service record the subscription; what fails the next visit to the site mends. */
  async function record(current, former) {
    const optIn = await recall("optIn");
    if (!optIn || !current) return;
    const { service, managementToken, vapidPublicKey, choices } = optIn;
    const old = managementToken ? { management_token: managementToken } : proofOf(former);
    const answer = await ask(service, "POST", "subscriptions", {
      ...choices,
      subscription: current.toJSON(),
      vapid_public_key: vapidPublicKey,
      ...(old && { old }),
    });
    const { publication, hosts } = await ask(service, "GET", "config");
    await remember("optIn", {
      ...optIn,
      publication,
      hosts,
      endpoint: current.endpoint,
      managementToken: answer.management_token,
      recordedAt: Date.now(),
    });
  }

  async function ask(service, method, path, body) {
    const response = await fetch(`${service}/api/v1/${path}`, {
      method,
      credentials: "omit",
      signal: AbortSignal.timeout?.(ASKING_PATIENCE),
      headers: body ? { "Content-Type": "application/json" } : {},
      body: body && JSON.stringify(body),
    });
    const { ok, status } = response;
    if (!ok) throw Object.assign(new Error(`${service} answered ${status}`), { status });
    return response.json();
  }

  const subscription = () => self.registration.pushManager.getSubscription();

  function proofOf(subscription) {
    const { endpoint, keys } = subscription?.toJSON() || {};
    return endpoint && { endpoint, ...keys };
  }

  const someTime = () => new Promise((resolve) => setTimeout(resolve, Math.random() * SPREAD));

  /** A page may be recording the same browser: each answer can have a new token. */
  const oneAtATime = (work) =>
    self.navigator.locks ? self.navigator.locks.request("notifier", work) : work();

  // ---- Memory: the same small database as reader.js uses ------------------------------------

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

  async function inStore(name, mode, work) {
    const memory = await openMemory();
    try {
      return await new Promise((resolve, reject) => {
        const transaction = memory.transaction(name, mode);
        const request = work(transaction.objectStore(name));
        transaction.oncomplete = () => resolve(request.result);
        transaction.onabort = () => reject(transaction.error);
      });
    } finally {
      memory.close();
    }
  }

  const recall = (name) => inStore("state", "readonly", (state) => state.get(name));
  const remember = (name, value) =>
    inStore("state", "readwrite", (state) => state.put(value, name));
  const rememberedAlerts = () => inStore("alerts", "readonly", (alerts) => alerts.getAll());

  /** Changes a stored list; nobody can come in between. */
  const alter = (name, change) =>
    inStore("state", "readwrite", (state) => {
      const reading = state.get(name);
      reading.onsuccess = () => state.put(change(reading.result || []), name);
      return reading;
    });

  async function rememberAlert(shown) {
    await inStore("alerts", "readwrite", (alerts) => alerts.put(shown));
    const all = await rememberedAlerts();
    const old = all.sort((a, b) => b.shownAt - a.shownAt).slice(REMEMBERED_ALERTS);
    for (const { alert } of old) {
      await inStore("alerts", "readwrite", (alerts) => alerts.delete(alert));
    }
  }

  /** What storage or network answers; undefined when it fails or takes too long. */
  function patiently(work, patience = STORAGE_PATIENCE) {
    return Promise.race([
      work.catch(() => {}),
      new Promise((resolve) => setTimeout(resolve, patience)),
    ]);
  }
})();
