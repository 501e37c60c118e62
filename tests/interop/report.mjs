// One line per check: `ok NAME` or `FAIL NAME: reason`.

const TIMEOUT = 20_000;

export class Report {
  failed = 0;

  constructor(prefix) {
    this.prefix = prefix;
  }

  /** Runs one check; what it throws, and 20 s of silence, is its failure. */
  async check(name, body) {
    const label = `${this.prefix}/${name}`;
    let timer;
    const late = new Promise((_, reject) => {
      timer = setTimeout(() => reject(new Error(`no result after ${TIMEOUT / 1000} s`)), TIMEOUT);
    });
    try {
      await Promise.race([body(), late]);
      console.log(`ok ${label}`);
    } catch (error) {
      this.failed += 1;
      console.error(error);
      console.log(`FAIL ${label}: ${String(error?.message ?? error).split('\n')[0].slice(0, 300)}`);
    } finally {
      clearTimeout(timer);
    }
  }

  /** Ends the process, with sockets that a failed check left open. */
  exit() {
    process.exit(this.failed ? 1 : 0);
  }
}

/** The value of `--name VALUE`, or null. */
export function option(name) {
  const at = process.argv.indexOf(`--${name}`);
  return at < 0 ? null : process.argv[at + 1];
}
