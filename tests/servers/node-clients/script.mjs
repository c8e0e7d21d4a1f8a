// What every script has: its input, and a way to tell what it found out.
import { readFileSync } from 'node:fs';

export const input = JSON.parse(readFileSync(process.argv[2], 'utf8'));

/** Tells of one step, as one line of JSON. */
export function tell(step, facts = {}) {
  process.stdout.write(`${JSON.stringify({ step, ...facts })}\n`);
}

/** Runs `work`, which has to fail, and returns the names in its error: those of the library and of the server. */
export async function refusal(work) {
  try {
    await work();
  } catch (error) {
    const { code, error: told, error_description: description, status, message } = error;
    return { code, error: told ?? error.cause?.error, description, status, message };
  }
  return { accepted: true };
}
