/* What the panel adds to the look that ui.js gives everything. */

export const PANEL_STYLE = `
.panel { padding: 0; display: flex; flex-direction: column; }
dialog.panel:not([open]) { display: none; }
::backdrop { background: #0009; }
dialog.panel { width: 34rem; max-width: 100vw; max-height: min(100dvh - 2rem, 56rem); }
.panel.page { max-width: 38rem; margin-inline: auto; max-height: none; overflow: visible; animation: none; }
.head { display: flex; align-items: center; gap: 1rem; padding: 1rem 1.25rem .5rem; }
.head h2 { flex: 1; margin: 0; font-size: 1.3rem; }
.head h2:focus { outline: none; }
.close { min-height: 2.75rem; width: 2.75rem; padding: 0; border: 0; font-size: 1.6rem; line-height: 1; }
.body { flex: 1; overflow: auto; padding: 0 1.25rem 1rem; }
.page .body { overflow: visible; }
.said { position: sticky; bottom: 0; background: var(--paper); color: var(--ink); font-weight: 600;
  padding: .6rem 1.25rem calc(.6rem + env(safe-area-inset-bottom)); border-top: 1px solid var(--rule);
  border-radius: 0 0 14px 14px; }
.said:empty { padding: 0; border: 0; }
.panel { --rule: color-mix(in srgb, var(--ink) 18%, transparent); }
fieldset, details { border: 0; margin: .9rem 0 0; padding: 0; min-width: 0; }
legend { padding: .9rem 0 0; width: 100%; }
legend, details { border-top: 1px solid var(--rule); }
.body > :first-child { margin-top: 0; }
.body > :first-child legend { border: 0; padding-top: .3rem; }
summary { padding-top: .5rem; }
h3 { margin: 0 0 .35rem; font-size: 1rem; line-height: 1.3; }
.choice { display: flex; align-items: center; gap: .7rem; min-height: 2.75rem; cursor: pointer; }
.choice input { flex: none; width: 1.25rem; height: 1.25rem; margin: 0; accent-color: var(--accent); }
.choices { display: grid; grid-template-columns: repeat(auto-fill, minmax(10rem, 1fr)); column-gap: 1rem; }
.row { display: flex; flex-wrap: wrap; gap: .6rem; margin-top: .5rem; }
.times label { display: flex; align-items: center; gap: .5rem; }
input[type="time"], select { font: inherit; min-height: 2.75rem; padding: .3rem .7rem; color: inherit;
  background: var(--paper); border: 1px solid var(--line); border-radius: .6rem; max-width: 100%; }
.times, fieldset > p { margin-bottom: .3rem; }
select + p { margin-top: .4rem; }
ul { list-style: none; margin: 0; padding: 0; }
li { padding: .6rem 0; }
li + li { border-top: 1px solid var(--rule); }
li a { display: block; color: inherit; font-weight: 600; text-decoration-color: var(--line); text-underline-offset: .2em; }
.when { font-size: .85rem; }
.between { display: flex; gap: 1rem; align-items: center; justify-content: space-between; }
.small { min-height: 2.75rem; padding: .1rem .9rem; font-size: .9rem; margin-top: .4rem; }
.between .small { margin: 0; flex: none; }
.note { margin-top: .4rem; font-weight: 600; }
.offer { padding: .5rem 0 1.2rem; }
.offer p { margin-bottom: .9rem; font-size: 1rem; color: var(--ink); }
summary { cursor: pointer; font-weight: 600; min-height: 2.75rem; align-content: center; }
dl { display: grid; grid-template-columns: minmax(8rem, max-content) 1fr; gap: .3rem 1rem; margin: 0 0 .5rem; font-size: .95rem; }
dt { color: var(--faint); }
dd { margin: 0; overflow-wrap: anywhere; }
@media (max-width: 40em) {
  dialog.panel { width: 100vw; height: 100dvh; max-height: none; border-radius: 0; border-width: 4px 0 0; }
  .row button { flex: 1 0 auto; }
  .said { border-radius: 0; }
  dl { grid-template-columns: 1fr; gap: 0; }
  dd { margin-bottom: .5rem; }
}
`;
