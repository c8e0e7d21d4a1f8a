// What every script has: its input, and a way to tell what it found out.
import { readFileSync } from 'node:fs';

export const input = JSON.parse(readFileSync(process.argv[2], 'utf8'));

/** Tells of one step, as one line of JSON. */
export function tell(step, facts = {}) {
  process.stdout.write(`${JSON.stringify({ step, ...facts })}\n`);
}

/**
 * Runs `work`, which has to fail, and returns how it did: `error` and `status` as the server sent them, and what the
 * library made of it.
 */
export async function refusal(work) {
  try {
    await work();
  } catch (error) {
    const told = error.response && !error.response.bodyUsed ? await error.response.json().catch(() => ({})) : {};
    return {
      error: error.error ?? told.error, status: error.status, code: error.code,
      challenge: error.response?.headers.get('www-authenticate') ?? undefined,
      reason: typeof error.cause?.message === 'string' ? error.cause.message : error.message,
    };
  }
  return { accepted: true };
}
