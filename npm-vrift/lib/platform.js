// Where this platform's native program is, and what to do where there is none.
'use strict';

const fs = require('node:fs');
const path = require('node:path');

const own = require('../package.json');

const REINSTALL = `install it again: npm install ${own.name}@${own.version} --include=optional`;

const OVERRIDE = 'or set VRIFT_BINARY to a `vrift` that you have built';

class PlatformError extends Error {
  constructor(code, message) {
    super(message);
    this.name = 'VriftError';
    this.code = code;
    // What a shell ends with where a program is missing, or cannot be run.
    this.status = code === 'VRIFT_NO_BINARY' ? 127 : 126;
  }
}

function supported() {
  return Object.keys(own.optionalDependencies).map((name) => name.slice(name.indexOf('/') + 1)).sort().join(', ');
}

// `glibc`, `musl`, or `null` where that cannot be told.
function libc() {
  // Of a musl build of Node there is no such field. Takes some milliseconds: for messages only.
  const { header, sharedObjects = [] } = process.report?.getReport() ?? {};
  if (header?.glibcVersionRuntime) return 'glibc';
  const isMusl = sharedObjects.some((file) => /\/(ld-musl-|libc\.musl-)/.test(file)) || fs.existsSync('/etc/alpine-release');
  return isMusl ? 'musl' : null;
}

function platformName() {
  const kind = process.platform === 'linux' ? libc() : null;
  return [process.platform, process.arch, kind === 'glibc' ? 'gnu' : kind].filter(Boolean).join('-');
}

function missing() {
  const platform = platformName();
  const name = `@vrift/${platform}`;
  if (name in own.optionalDependencies) {
    return `its programs for ${platform} are missing: the package ${name} is not installed. Optional dependencies may be switched `
      + `off, or the lock file may come from another platform: ${REINSTALL}; ${OVERRIDE}`;
  }
  return `there are no programs for ${platform}; there are for: ${supported()}. Scripts run as before without vrift: `
    + `npm run <script>; ${OVERRIDE}`;
}

// The path of the native program.
function find() {
  const chosen = process.env.VRIFT_BINARY;
  if (chosen) {
    if (!fs.existsSync(chosen)) throw new PlatformError('VRIFT_NO_BINARY', `VRIFT_BINARY names \`${chosen}\`, which is not there`);
    if (path.dirname(fs.realpathSync(chosen)) === path.join(__dirname, '../bin')) {
      throw new PlatformError('VRIFT_NOT_RUNNABLE', `VRIFT_BINARY names this launcher (\`${chosen}\`), and not a native program`);
    }
    return path.resolve(chosen);
  }
  // Whether it is glibc is left to the package manager and the kernel: asking for it would cost every start.
  const name = `@vrift/${process.platform}-${process.arch}-gnu`;
  let manifest;
  try {
    manifest = require.resolve(`${name}/package.json`);
  } catch {
    throw new PlatformError('VRIFT_NO_BINARY', missing());
  }
  const { version } = JSON.parse(fs.readFileSync(manifest, 'utf8'));
  if (version !== own.version) {
    throw new PlatformError(
      'VRIFT_WRONG_VERSION',
      `${own.name} ${own.version} came with ${name} ${version} (\`${path.dirname(manifest)}\`), and both must have one version: `
        + REINSTALL,
    );
  }
  const program = path.join(path.dirname(manifest), 'bin', 'vrift');
  // A shell would take an empty file for a script that has nothing to do.
  if (fs.statSync(program, { throwIfNoEntry: false })?.size === 0) {
    throw new PlatformError('VRIFT_NOT_RUNNABLE', `\`${program}\` is empty; ${REINSTALL}`);
  }
  return program;
}

// What it means that `program` could not be started.
function startError(program, error) {
  if (error.code === 'ENOENT' && !fs.existsSync(program)) {
    return new PlatformError('VRIFT_NO_BINARY', `\`${program}\` is missing; ${REINSTALL}`);
  }
  if (error.code === 'ENOENT') {
    // The kernel says the same of a program whose loader is missing.
    return new PlatformError('VRIFT_NOT_RUNNABLE', `\`${program}\` needs glibc, and this is ${platformName()}; ${OVERRIDE}`);
  }
  return new PlatformError('VRIFT_NOT_RUNNABLE', `cannot run \`${program}\`: ${error.message}; ${REINSTALL}`);
}

module.exports = { find, startError };
