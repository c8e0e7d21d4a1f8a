// Keeps a token where the page's scripts cannot look: another thread, with no document and no names in common.
let token;

const WORK = {
  async logIn() {
    const answer = await fetch('/token', { method: 'POST', headers: { 'x-csrf': '1' } });
    token = answer.ok ? (await answer.json()).access_token : undefined;
    return Boolean(token);
  },
  async orders() {
    const answer = await fetch('/api/bearer/orders', { headers: { authorization: `Bearer ${token}` } });
    return answer.status;
  },
  async has() {
    return Boolean(token);
  },
  async logOut() {
    token = undefined;
  },
};

// It answers by status and never by token. Whoever runs in the page can ask as well.
addEventListener('message', async ({ data: work, ports: [port] }) => {
  port.postMessage(Object.hasOwn(WORK, work) ? await WORK[work]() : undefined);
});
