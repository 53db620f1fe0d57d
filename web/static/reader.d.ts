/** What /reader.js puts on a page; see docs/embedding.md. */

/** Where this browser stands. */
type NotifierStatus =
  | "subscribed"
  | "unsubscribed"
  /** The reader has blocked notifications from this site. */
  | "denied"
  /** An iPhone or iPad whose reader has to put the site on the home screen first. */
  | "needs-home-screen"
  /** No push here, such as in the browser inside another app. */
  | "unsupported";

interface Notifier {
  /**
   * Asks the reader now, whatever was answered before. A subscriber gets the preferences, who has
   * blocked us is told how to unblock, on an iPhone it shows the way to the home screen, and where
   * there is no push it says what to try instead.
   */
  prompt(): Promise<NotifierStatus | undefined>;
  /** Raises the browser's own question without the soft prompt. Only inside a click. */
  subscribe(): Promise<NotifierStatus | undefined>;
  /** Ends the subscription and forgets the reader; never subscribes this browser again by itself. */
  unsubscribe(): Promise<NotifierStatus | undefined>;
  /** Opens the reader's preferences. */
  preferences(): Promise<NotifierStatus | undefined>;
  /** Begins, where `waitFor` holds it back: the reader has consented. */
  start(): Promise<void>;
  /** Undefined until it has begun, as with all the others. */
  status(): Promise<NotifierStatus | undefined>;
}

/** Read once, when the script runs; the same as its element's `data-…` attributes. */
interface NotifierSettings {
  /** The origin of the service, where the script's element does not tell it. */
  service?: string;
  /** `auto` (default) asks by itself, `button` only when it is called. */
  prompt?: "auto" | "button";
  /** Seconds on the page before it asks; default 0. */
  delay?: number | string;
  /** How far down the page the reader has come, in per cent; default 0. */
  scroll?: number | string;
  /** From which page view on it asks; default 1. */
  views?: number | string;
  /** A DOM event on document or window, before which it does nothing and stores nothing. */
  waitFor?: string;
  /** Subscribes who has permitted another service's notifications before, without asking. */
  adopt?: "true";
  /** Texts in place of ours, for all languages or by language code. */
  texts?: Record<string, string | Record<string, string>>;
}

interface NotifierEventMap {
  /** It has begun. */
  "notifier:ready": CustomEvent<{ status: NotifierStatus }>;
  /** The soft prompt is shown. */
  "notifier:prompted": CustomEvent<null>;
  /** "Yes please": the browser asks now. */
  "notifier:accepted": CustomEvent<null>;
  /** "No thanks", or the browser's question was dismissed. */
  "notifier:declined": CustomEvent<null>;
  /** The reader has blocked this site in answer to the browser's question. */
  "notifier:denied": CustomEvent<null>;
  "notifier:subscribed": CustomEvent<null>;
  "notifier:unsubscribed": CustomEvent<null>;
}

interface Window {
  /** Not in frames, and not before the script has run. */
  readonly notifier?: Notifier;
  notifierSettings?: NotifierSettings;
}

interface DocumentEventMap extends NotifierEventMap {}
