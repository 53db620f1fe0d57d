// node's web-push, 100 at a time, with node's own agent, which keeps connections open.
//
//     node web_push.mjs ORDER [cached]
//
// Each line of its input is a turn, the number of messages to measure; it answers with a report in
// a line of JSON.

import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";
import webpush from "web-push";

const AT_A_TIME = 100;
const WARM_UP = 0.5;

const [path, form] = process.argv.slice(2);
const order = JSON.parse(readFileSync(path, "utf8"));
const origin = new URL(order.subscriptions[0].endpoint).origin;

const options = { TTL: order.ttl };
if (form === "cached") {
  options.headers = webpush.getVapidHeaders(
    origin, order.subject, order.vapid_public_key, order.vapid_private_key, "aes128gcm");
} else {
  options.vapidDetails = {
    subject: order.subject,
    publicKey: order.vapid_public_key,
    privateKey: order.vapid_private_key,
  };
}

async function send(total) {
  const statuses = {};
  let next = 0;
  async function oneOfMany() {
    while (next < total) {
      const reader = order.subscriptions[next++ % order.subscriptions.length];
      let status;
      try {
        status = (await webpush.sendNotification(reader, order.plaintext, options)).statusCode;
      } catch (error) {
        status = error.statusCode ?? String(error);
      }
      statuses[status] = (statuses[status] ?? 0) + 1;
    }
  }
  await Promise.all(Array.from({ length: AT_A_TIME }, oneOfMany));
  return statuses;
}

for await (const line of createInterface({ input: process.stdin })) {
  const count = Number(line);
  await send(Math.max(1, Math.floor(count * WARM_UP)));
  const cpu = process.cpuUsage();
  const started = process.hrtime.bigint();
  const statuses = await send(count);
  const used = process.cpuUsage(cpu);
  console.log(JSON.stringify({
    cpu_s: (used.user + used.system) / 1e6,
    wall_s: Number(process.hrtime.bigint() - started) / 1e9,
    statuses,
  }));
}
