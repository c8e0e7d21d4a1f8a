// A user with a browser that can do no more than forms and cookies.

const UNESCAPED = { amp: '&', lt: '<', gt: '>', quot: '"', '#39': "'" };
const unescape = (text) => text.replace(/&(amp|lt|gt|quot|#39);/g, (_, name) => UNESCAPED[name]);

export class User {
  #cookies = new Map();

  constructor(name, password) {
    this.name = name;
    this.password = password;
  }

  /** Goes to `url`, fills in forms until there is none any more, and returns where the issuer sends the browser. */
  async visit(url, { allows = true, answers = {} } = {}) {
    const home = new URL(url);
    let response = await this.#fetch(home);
    for (let step = 0; step < 8; step += 1) {
      const location = response.headers.get('location');
      if (location) {
        const target = new URL(location, home);
        if (target.origin !== home.origin) return { url: target };
        response = await this.#fetch(target);
        continue;
      }
      const html = await response.text();
      const form = /<form method="post" action="([^"]*)">([\s\S]*?)<\/form>/.exec(html);
      if (!form) return { status: response.status, text: /<h1>([\s\S]*)<\/main>/.exec(html)?.[1] ?? html };
      if (html.includes('role="alert"')) throw new Error(`the form was refused: ${html}`);
      const fields = new URLSearchParams();
      for (const [, name, value] of form[2].matchAll(/<input type="hidden" name="([^"]*)" value="([^"]*)">/g)) {
        fields.append(name, unescape(value));
      }
      const visible = { username: this.name, password: this.password, ...answers };
      for (const [, name] of form[2].matchAll(/<input name="([^"]*)"/g)) {
        if (!(name in visible)) throw new Error(`nothing to write into ${name}`);
        fields.append(name, visible[name]);
      }
      if (form[2].includes('name="decision"')) fields.append('decision', allows ? 'allow' : 'deny');
      response = await this.#fetch(new URL(unescape(form[1]), home), fields);
    }
    throw new Error('one form after the other, without an end');
  }

  async #fetch(url, body) {
    const cookie = [...this.#cookies].map(([name, value]) => `${name}=${value}`).join('; ');
    const headers = cookie ? { cookie } : {};
    const response = await fetch(url, { method: body ? 'POST' : 'GET', body, headers, redirect: 'manual' });
    for (const line of response.headers.getSetCookie()) {
      const [, name, value] = /^([^=]+)=([^;]*)/.exec(line);
      if (/; *max-age=0/i.test(line)) this.#cookies.delete(name);
      else this.#cookies.set(name, value);
    }
    return response;
  }
}
