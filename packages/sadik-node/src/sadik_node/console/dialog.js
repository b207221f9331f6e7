// Questions before anything is done that an operator may regret.

import { html, useLayoutEffect, useRef } from "/console/vendor/htm-preact.js";

/**
 * A question over the page. `question` is {title, body, confirm, danger, act}; `act` is called when
 * it is confirmed, and `close` in either case.
 */
export function Question({ question, close }) {
  const element = useRef(null);
  // Before it is painted: a key that is pressed while it is there, and not modal yet, would go to the
  // page below, and when it closes the focus would not be where it was.
  useLayoutEffect(() => {
    element.current.showModal();
  }, []);
  async function confirm() {
    close();
    await question.act();
  }
  return html`<dialog ref=${element} onClose=${close} aria-labelledby="question">
    <h2 id="question">${question.title}</h2>
    ${question.body}
    <div class="actions">
      <button class=${question.danger ? "danger" : "main"} onClick=${confirm}>
        ${question.confirm}
      </button>
      <button autofocus onClick=${close}>Cancel</button>
    </div>
  </dialog>`;
}

/** What came of something: {good, text}, or nothing. */
export function Notice({ notice }) {
  if (!notice) return null;
  const kind = notice.good ? "good" : "bad";
  return html`<p class="panel notice ${kind}" role="status">${notice.text}</p>`;
}
