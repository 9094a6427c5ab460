/** As far as it is needed here; every `AbortSignal` is one. */
export interface Abort {
  readonly aborted: boolean;
  readonly reason?: any;
  addEventListener(type: 'abort', listener: () => void, options?: { once?: boolean }): void;
  removeEventListener(type: 'abort', listener: () => void): void;
}

export interface RunOptions {
  /** Arguments of the script; they stand behind `--`. */
  args?: readonly string[];
  /** A folder of the package, this process's own by default. */
  cwd?: string;
  /** Packages of the workspace, by name or folder, instead of the nearest package; `true`: all that have the script. */
  workspaces?: readonly string[] | true;
  /** The whole environment, instead of this process's own. */
  env?: Record<string, string | undefined>;
  /**
   * `inherit`, the default: this process's streams. `pipe`: what is written is in the result, and standard input is empty. `ignore`: there
   * is no input, and what is written is lost.
   */
  stdio?: 'inherit' | 'pipe' | 'ignore';
  /** Run for real, and record the result. */
  force?: boolean;
  /** Say on standard output what would be done, and do nothing. */
  dry?: boolean;
  /** Run for real where there is no result, and do not record it. */
  noStore?: boolean;
  /** Ends the script by SIGTERM; the promise is rejected with the signal's reason once it has ended. */
  signal?: Abort;
}

export interface RunResult {
  /** The exit status; `null` where a signal ended the script. */
  status: number | null;
  /** Such as `SIGTERM`; `null` where the script exited. */
  signal: string | null;
  /** What was written, with `stdio: 'pipe'` alone. */
  stdout?: string;
  /** As above, vrift's own lines included. */
  stderr?: string;
  /** `null`, or why vrift had no part in it, as with `VRIFT_DISABLE=1`: the numbers below are 0 then. */
  off: string | null;
  /** Actions whose results were put in place. A script with its `pre` and `post` scripts is one action. */
  hits: number;
  /** Actions that ran and were stored. */
  misses: number;
  /** Actions that ran and were not stored; with `dry`, those that would run. */
  uncached: number;
  /** Why not, and how many for each reason. */
  uncachedReasons: Record<string, number>;
  /** Processor time that the restored actions took when they ran, milliseconds. */
  savedCpuMs: number;
  /** What a person should see, such as a store that is full. */
  notices: string[];
}

/** What a rejected promise, or {@link binary}, may throw besides a `TypeError`. */
export interface VriftError extends Error {
  /** There is no native program for this platform; it belongs to another version; it is there and cannot be run. */
  code: 'VRIFT_NO_BINARY' | 'VRIFT_WRONG_VERSION' | 'VRIFT_NOT_RUNNABLE';
}

/**
 * Runs a script of the nearest `package.json`, or puts its results in place. A script that fails is a result, and no error.
 */
export function run(script: string, options?: RunOptions): Promise<RunResult>;

/** The version of this package, and of the native program. */
export function version(): string;

/** The path of the native program. Throws a {@link VriftError} where there is none. */
export function binary(): string;
