#!/usr/bin/env node
// The command `vrift` where the script beside this file does not find the native program, or is not to take its own: says what is
// wrong, or runs it with this terminal, these signals and its exit status.
'use strict';

const { spawn } = require('node:child_process');
const { readFileSync } = require('node:fs');
const { find, startError } = require('../lib/platform.js');

// Signals that end a build; the same as the native program passes on.
const PASSED_ON = ['SIGHUP', 'SIGINT', 'SIGQUIT', 'SIGTERM'];

function fail(error) {
  process.stderr.write(`vrift: ${error.message}\n`);
  process.exit(error.status ?? 126);
}

// A terminal sends these to the programs in its foreground, the native one among them: once more would be too often, for the second
// Ctrl-C means another thing than the first to many programs. What a program sends to us alone, we cannot tell from it there.
function comesFromTerminal(signal) {
  if (signal !== 'SIGINT' && signal !== 'SIGQUIT') return false;
  try {
    // proc(5): behind the name, which may hold anything: state, parent, group, session, terminal, the terminal's foreground group.
    const stat = readFileSync('/proc/self/stat', 'latin1');
    const [, , group, , terminal, foreground] = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return terminal !== '0' && group === foreground;
  } catch {
    return false;
  }
}

function main() {
  const program = find();
  let child;
  // Before the start: a signal that comes in between is passed on when there is somebody to have it.
  for (const signal of PASSED_ON) {
    process.on(signal, () => {
      if (!comesFromTerminal(signal)) child.kill(signal);
    });
  }
  child = spawn(program, process.argv.slice(2), { stdio: 'inherit' });
  child.on('error', (error) => fail(startError(program, error)));
  child.on('exit', (status, signal) => {
    if (signal === null) process.exit(status);
    process.removeAllListeners(signal);
    process.kill(process.pid, signal);
    // Still here: the signal does not end processes, or comes later.
    setTimeout(() => process.exit(128 + require('node:os').constants.signals[signal]), 1000);
  });
}

try {
  main();
} catch (error) {
  fail(error);
}
