/* Says in the console what is missing on the page, the site or the service, and what to do. */

export async function explain(reader, error) {
  console.warn(`notifier: ${await reason(reader, error)}`, error);
}

async function reason({ service }, error) {
  if (error.worker) return workerProblem(error.worker, service);
  if (error.status) return `${error.message}.`;
  if (!(error instanceof TypeError)) return "something failed; it is tried again on the next visit.";
  const blocked = once(document, "securitypolicyviolation");
  try {
    await fetch(`${service}/reader.js`, { mode: "no-cors", credentials: "omit" });
  } catch {
    return (await blocked)
      ? `the page's Content-Security-Policy must allow ${service} in connect-src.`
      : `${service} cannot be reached.`;
  }
  return `${service} does not answer this page: add ${location.origin} to its ALLOWED_ORIGINS.`;
}

async function workerProblem(path, service) {
  const wanted = `It must contain: importScripts("${service}/notifier-worker.js");`;
  let answer;
  try {
    answer = await fetch(path, { credentials: "omit" });
  } catch {
    return (
      `${location.origin}${path} cannot be used. It must answer 200 with the type ` +
      `text/javascript, and worker-src of the Content-Security-Policy must allow 'self'. ${wanted}`
    );
  }
  if (!answer.ok) return `${answer.url} answers ${answer.status}: put the file there. ${wanted}`;
  const type = answer.headers.get("Content-Type") || "no type";
  if (!/javascript/.test(type)) return `${answer.url} comes as ${type}: send text/javascript.`;
  return `${answer.url} does not start. ${wanted}`;
}

/** Whether the event comes within a moment. */
function once(target, name) {
  return new Promise((resolve) => {
    target.addEventListener(name, () => resolve(true), { once: true });
    setTimeout(resolve, 1000, false);
  });
}
