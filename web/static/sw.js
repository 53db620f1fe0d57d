importScripts("/notifier-worker.js");
