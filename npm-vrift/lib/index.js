// vrift from JavaScript; index.d.ts says what each function does.
'use strict';

const { spawn } = require('node:child_process');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');

const platform = require('./platform.js');

const STDIO = { inherit: 'inherit', ignore: 'ignore', pipe: ['ignore', 'pipe', 'pipe'] };

function words(script, options, report) {
  const { args = [], workspaces = [], force, dry, noStore } = options;
  const flags = [force && '--force', dry && '--dry', noStore && '--no-store', workspaces === true && '--workspaces'].filter(Boolean);
  if (workspaces !== true) flags.push(...workspaces.flatMap((name) => ['--workspace', name]));
  return ['run', '--report', report, ...flags, script, ...(args.length > 0 ? ['--', ...args] : [])];
}

function isList(value) {
  return Array.isArray(value) && value.every((item) => typeof item === 'string');
}

function check(script, { args = [], workspaces = [], stdio = 'inherit' }) {
  if (typeof script !== 'string' || script === '' || script.startsWith('-')) {
    throw new TypeError(`the name of a script was expected, not ${JSON.stringify(script)}`);
  }
  if (!isList(args)) throw new TypeError('`args` must be a list of strings');
  if (workspaces !== true && !isList(workspaces)) throw new TypeError('`workspaces` must be `true` or a list of strings');
  if (!Object.hasOwn(STDIO, stdio)) throw new TypeError('`stdio` must be "inherit", "ignore" or "pipe"');
}

function gather(stream) {
  const chunks = [];
  stream?.on('data', (chunk) => chunks.push(chunk));
  return () => (stream ? Buffer.concat(chunks).toString() : undefined);
}

function execute(program, argv, { cwd, env, stdio = 'inherit', signal: abort }) {
  return new Promise((resolve, reject) => {
    if (abort?.aborted) return reject(abort.reason);
    const child = spawn(program, argv, { cwd, env, stdio: STDIO[stdio] });
    const kill = () => child.kill('SIGTERM');
    abort?.addEventListener('abort', kill, { once: true });
    const [stdout, stderr] = [gather(child.stdout), gather(child.stderr)];
    child.on('error', (error) => {
      abort?.removeEventListener('abort', kill);
      const here = cwd === undefined || fs.existsSync(cwd);
      reject(here ? platform.startError(program, error) : new Error(`there is no folder \`${cwd}\``));
    });
    child.on('close', (status, signal) => {
      abort?.removeEventListener('abort', kill);
      if (abort?.aborted) reject(abort.reason);
      else resolve({ status, signal, stdout: stdout(), stderr: stderr() });
    });
    return undefined;
  });
}

// What the native program wrote down. It writes nothing where the package manager runs in its place.
function read(report) {
  let text;
  try {
    text = fs.readFileSync(report, 'utf8');
  } catch {
    text = '{"off": "vrift had no part in it"}';
  }
  const { uncached_reasons: uncachedReasons = {}, saved_cpu_us: saved = 0, ...rest } = JSON.parse(text);
  return { off: null, hits: 0, misses: 0, uncached: 0, notices: [], ...rest, uncachedReasons, savedCpuMs: saved / 1000 };
}

async function run(script, options = {}) {
  check(script, options);
  const program = platform.find();
  const dir = fs.mkdtempSync(path.join(os.tmpdir(), 'vrift-run-'));
  try {
    const report = path.join(dir, 'report.json');
    const ended = await execute(program, words(script, options, report), options);
    return { ...ended, ...read(report) };
  } finally {
    fs.rmSync(dir, { recursive: true, force: true });
  }
}

function version() {
  return require('../package.json').version;
}

function binary() {
  return platform.find();
}

module.exports = { run, version, binary };
