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
  const AUDIBLE_KINDS = ["breaking", "correction"];

  const HOME = `${self.location.origin}/`;

  /** Alerts shown since this worker started, in case storage is slow or away. */
  const shownHere = new Map();

  self.addEventListener("install", () => self.skipWaiting());
  self.addEventListener("push", (event) => event.waitUntil(receive(event)));
  self.addEventListener("notificationclick", (event) => {
    event.notification.close();
    event.waitUntil(open(acceptableUrl(event.notification.data?.url) || HOME));
  });
  self.addEventListener("pushsubscriptionchange", (event) => event.waitUntil(resubscribe(event)));

  // ---- A message arrives ------------------------------------------------------------------

  async function receive(event) {
    const notification = read(event);
    const [optIn, remembered] = await Promise.all([
      patiently(recall("optIn"), null),
      patiently(rememberedAlerts(), []),
    ]);
    if (!notification) return showUnreadable(optIn);

    const { alert, story, revision } = notification.data;
    const known = new Map([...remembered.map((shown) => [shown.alert, shown]), ...shownHere]);
    const newest = [...known.values()]
      .filter((shown) => shown.notification.data.story === story)
      .sort((a, b) => b.notification.data.revision - a.notification.data.revision)[0];
    // Messages may overtake each other: a late one must not hide what is newer.
    const overtaken = newest && newest.notification.data.revision > revision;
    const shown = overtaken ? newest : { alert, shownAt: Date.now(), notification };
    const heard = overtaken || known.has(alert);
    // From here to showNotification nothing is awaited, so two messages cannot both be first.
    shownHere.set(shown.alert, shown);
    const showing = show(shown.notification, { heard, optIn }).catch(() => showUnreadable(optIn));
    await Promise.all([showing, rememberAlert(shown).catch(() => {})]);
  }

  /** The notification in a push event, in both forms in which it is sent; null if unreadable. */
  function read(event) {
    try {
      const source = event.notification || event.data.json().notification;
      const { title, body, lang, dir, icon, image, tag, timestamp, actions, data } = source;
      if (!title || !data.alert || !data.story) return null;
      const options = { body, lang, dir, icon, image, tag, timestamp, actions };
      return { title, options, data };
    } catch {
      return null;
    }
  }

  function show({ title, options, data }, { heard, optIn }) {
    const expired = Date.parse(data.expires_at) < Date.now();
    const audible = AUDIBLE_KINDS.includes(data.kind) && !heard && !expired;
    const body = expired ? `${timeOf(data.sent_at, options.lang)} · ${options.body}` : options.body;
    return self.registration.showNotification(title, {
      ...withoutEmpty(options),
      body,
      badge: optIn ? `${optIn.service}/static/badge-96.png` : undefined,
      tag: options.tag || data.story,
      renotify: audible,
      silent: audible ? null : true,
      data,
    });
  }

  function showUnreadable(optIn) {
    const title = optIn ? optIn.publication : self.location.hostname;
    return self.registration.showNotification(title, {
      body: "Open the site for the latest news.",
      tag: "notifier",
      silent: true,
      data: { url: HOME },
    });
  }

  function timeOf(moment, language) {
    const format = { weekday: "short", hour: "2-digit", minute: "2-digit" };
    return new Date(moment).toLocaleString(language || undefined, format);
  }

  function withoutEmpty(options) {
    return Object.fromEntries(Object.entries(options).filter(([, value]) => value));
  }

  // ---- A notification is clicked ----------------------------------------------------------

  /** Brings the tab that shows the article to the front, or opens one. Asks nobody first. */
  async function open(url) {
    const tabs = await self.clients.matchAll({ type: "window", includeUncontrolled: true });
    const tab = tabs.find((tab) => pageOf(tab.url) === pageOf(url));
    try {
      if (tab) return await tab.focus();
    } catch {
      // The browser does not let us bring it to the front: open it anew.
    }
    return self.clients.openWindow(url);
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

  function acceptableUrl(text) {
    try {
      const url = new URL(text);
      const own = url.origin === self.location.origin;
      return own || url.protocol === "https:" ? url.href : null;
    } catch {
      return null;
    }
  }

  // ---- The browser has replaced the subscription ------------------------------------------

  async function resubscribe(event) {
    const optIn = await recall("optIn");
    if (!optIn || !optIn.managementToken) return; // not recorded yet: the next visit does it
    const work = async () => {
      const subscription =
        event.newSubscription ||
        (await self.registration.pushManager.subscribe({
          userVisibleOnly: true,
          applicationServerKey: optIn.vapidPublicKey,
        }));
      await renew(subscription, optIn);
    };
    await (self.navigator.locks ? self.navigator.locks.request("notifier", work) : work());
  }

  /** Moves the opt-in to the new endpoint; what fails here the next visit to the site mends. */
  async function renew(subscription, optIn) {
    const response = await fetch(`${optIn.service}/api/v1/subscriptions/renew`, {
      method: "POST",
      credentials: "omit",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({
        old: { management_token: optIn.managementToken },
        subscription: subscription.toJSON(),
        vapid_public_key: optIn.vapidPublicKey,
      }),
    });
    if (!response.ok) return;
    await remember("optIn", { ...optIn, endpoint: subscription.endpoint, recordedAt: Date.now() });
  }

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

  async function rememberAlert(shown) {
    await inStore("alerts", "readwrite", (alerts) => alerts.put(shown));
    const all = await rememberedAlerts();
    const old = all.sort((a, b) => b.shownAt - a.shownAt).slice(REMEMBERED_ALERTS);
    for (const { alert } of old) {
      await inStore("alerts", "readwrite", (alerts) => alerts.delete(alert));
    }
  }

  /** What `work` answers, or `otherwise` when it fails or takes too long. */
  function patiently(work, otherwise) {
    return Promise.race([
      work.catch(() => otherwise),
      new Promise((resolve) => setTimeout(resolve, STORAGE_PATIENCE, otherwise)),
    ]);
  }
})();
