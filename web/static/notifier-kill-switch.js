/*
 * Ends notifications on a publisher's site. A /notifier/sw.js that imports this instead of
 * /notifier-worker.js takes away, in every browser that loads it, the notifications shown, the
 * subscription and itself. What readers chose stays: they are subscribed again, unasked, on their
 * first visit after the worker is back.
 */
self.addEventListener("install", () => self.skipWaiting());
self.addEventListener("activate", (event) => {
  const stop = async () => {
    for (const notification of await self.registration.getNotifications()) notification.close();
    await (await self.registration.pushManager.getSubscription())?.unsubscribe();
    await self.registration.unregister();
  };
  event.waitUntil(stop());
});
