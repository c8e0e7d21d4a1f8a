// Lets the forms of a page be answered with a passkey. Where the browser cannot do so, their buttons stay hidden.
'use strict';

for (const form of document.querySelectorAll('form[data-passkey]')) {
  const api = globalThis.PublicKeyCredential;
  const isNew = form.dataset.passkey === 'create';
  const parse = isNew ? 'parseCreationOptionsFromJSON' : 'parseRequestOptionsFromJSON';
  if (!api?.[parse] || !api.prototype.toJSON) continue;

  const button = form.querySelector('button');
  const failed = form.querySelector('[data-failed]');
  let waiting;

  const ask = async (mediation) => {
    waiting?.abort();
    waiting = new AbortController();
    const publicKey = api[parse](JSON.parse(form.dataset.options));
    const { signal } = waiting;
    const credential = isNew
      ? await navigator.credentials.create({ publicKey, signal })
      : await navigator.credentials.get({ publicKey, signal, mediation });
    form.elements.response.value = JSON.stringify(credential);
    HTMLFormElement.prototype.submit.call(form);
  };

  button.hidden = false;
  form.addEventListener('submit', (event) => {
    event.preventDefault();
    if (failed) failed.hidden = true;
    ask().catch(() => {
      if (failed) failed.hidden = false;
    });
  });
  // Offers passkeys among the user names that the browser fills in.
  if (!isNew) {
    api.isConditionalMediationAvailable?.().then((is) => is && ask('conditional')).catch(() => {});
  }
}
