/* Subscribes this browser, has the service record it, and ends it. */

import { pageLanguage } from "./language.js";
import { proofOf } from "./proof.js";

const WORKER = "/notifier/sw.js";
const SCOPE = "/notifier/";
const SYNC_EVERY = 24 * 60 * 60 * 1000;

/** For a reader who has just asked for it. What fails is tried again on the next visit. */
export async function optIn(reader, choices) {
  await reader.forget("optedOut");
  await reader.forget("declined");
  await oneAtATime(() => record(reader, { choices, welcome: true }));
  reader.emit("subscribed");
}

/** For a reader who has permitted it before: asks nothing, and does nothing twice a day unless `now`. */
export function renew(reader, { now } = {}) {
  return oneAtATime(async () => {
    const { endpoint, recordedAt } = (await reader.recall("optIn")) || {};
    const existing = await reader.currentSubscription();
    const settled = existing && existing.endpoint === endpoint;
    const isFresh = settled && Date.now() < recordedAt + SYNC_EVERY; // another tab was first
    if (isFresh && !now) return;
    if (await reader.recall("optedOut")) return;
    await record(reader, {});
    await tellMutes(reader);
  });
}

/** What was muted on a notification while there was no network. */
async function tellMutes(reader) {
  const muted = async () => (await reader.recall("mutes")) || [];
  for (const mute of await muted()) {
    const body = { ...(await proofOf(reader)), mute };
    await reader.call("PATCH", "subscriptions", body).catch((error) => {
      if (![404, 422].includes(error.status)) throw error;
    });
    await reader.remember("mutes", (await muted()).filter((story) => story !== mute));
  }
}

/** Ends it here first: whatever the service answers, nothing arrives any more. */
export async function optOut(reader) {
  await oneAtATime(async () => {
    const proof = await proofOf(reader);
    await reader.remember("optedOut", { at: Date.now() });
    await (await reader.currentSubscription())?.unsubscribe();
    await reader.forget("optIn");
    if (!proof) return;
    await reader.call("DELETE", "subscriptions", proof).catch((error) => {
      if (error.status !== 404) reader.explain(error);
    });
  });
  reader.emit("unsubscribed");
}

async function record(reader, { choices, welcome }) {
  const before = (await reader.recall("optIn")) || {};
  const kept = { ...before.choices, ...choices };
  // Taken before the browser's subscription is replaced, which a new key makes necessary.
  const old = await proofOf(reader);
  await reader.remember("optIn", { ...before, service: reader.service, choices: kept });
  const { publication, hosts, vapid_public_key } = await reader.config();
  const send = (subscription, old) =>
    reader.call("POST", "subscriptions", {
      language: pageLanguage(),
      ...kept,
      subscription: subscription.toJSON(),
      vapid_public_key,
      ...(old && { old }),
      ...(welcome && { welcome }),
    });
  let subscription = await subscribe(vapid_public_key);
  let answer = await send(subscription, old);
  if (answer.was_gone) {
    // The push service has forgotten it, and the browser has not heard of that.
    await subscription.unsubscribe();
    subscription = await subscribe(vapid_public_key);
    answer = await send(subscription, { management_token: answer.management_token });
  }
  const { sections, level, language } = answer.subscription;
  await reader.remember("optIn", {
    service: reader.service,
    publication,
    hosts,
    endpoint: subscription.endpoint,
    vapidPublicKey: vapid_public_key,
    managementToken: answer.management_token,
    recordedAt: Date.now(),
    choices: { sections, level, language },
  });
}

/** The browser's subscription with the service's key, made or replaced where need be. */
async function subscribe(key) {
  const { pushManager } = await registerWorker();
  const existing = await pushManager.getSubscription();
  if (existing && keyOf(existing) === key) return existing;
  await existing?.unsubscribe();
  return pushManager.subscribe({ userVisibleOnly: true, applicationServerKey: key });
}

async function registerWorker() {
  try {
    const url = policy ? policy.createScriptURL(WORKER) : WORKER;
    const registration = await navigator.serviceWorker.register(url, { scope: SCOPE });
    await activeWorker(registration);
    return registration;
  } catch (error) {
    throw Object.assign(error, { worker: WORKER });
  }
}

/** Resolves when the registration can receive pushes; it controls no page, so never `ready`. */
function activeWorker(registration) {
  const worker = registration.installing || registration.waiting || registration.active;
  return new Promise((resolve, reject) => {
    const look = () => {
      if (registration.active) resolve();
      else if (worker.state === "redundant") reject(new Error(`${WORKER} was not installed`));
    };
    worker.addEventListener("statechange", look);
    look();
  });
}

function keyOf(subscription) {
  const bytes = new Uint8Array(subscription.options.applicationServerKey || []);
  const base64 = btoa(String.fromCharCode(...bytes));
  return base64.replace(/\+/g, "-").replace(/\//g, "_").replace(/=/g, "");
}

/** Two tabs must not record the same browser at the same time: each answer has a new token. */
function oneAtATime(work) {
  return navigator.locks ? navigator.locks.request("notifier", work) : work();
}

// Where the page's policy asks for Trusted Types, it allows this one by its name.
const policy = window.trustedTypes?.createPolicy("notifier", {
  createScriptURL(url) {
    if (url !== WORKER) throw new TypeError(`${url} is not our worker`);
    return url;
  },
});
