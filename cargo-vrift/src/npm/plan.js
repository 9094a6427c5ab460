'use strict'
// What `npm run` is about to do, worked out by npm's own code: the steps, each with its command and environment. Nothing runs.
// Given: npm's folder, and as JSON whether stdout and stderr are terminals, the package's folder or null, and npm's arguments.
const path = require('node:path')
const fs = require('node:fs')
const { createRequire } = require('node:module')

const [npmRoot, given] = process.argv.slice(1)
const { out, err, pkgDir, words } = JSON.parse(given)
const before = { ...process.env }
const npm = createRequire(path.join(npmRoot, 'package.json'))
// npm tells by them whether scripts may be colourful; ours is a pipe.
Object.defineProperty(process.stdout, 'isTTY', { value: out, configurable: true })
Object.defineProperty(process.stderr, 'isTTY', { value: err, configurable: true })

const definitions = () => {
  try {
    return npm('@npmcli/config/lib/definitions')
  } catch {
    // npm 8 and 9.
    return npm('./lib/utils/config/index.js')
  }
}

const sources = new Set()

// `config` holds npm's commands, by which each version names itself.
const loadConfig = async () => {
  const Config = npm('@npmcli/config')
  const { definitions: known, shorthands, flatten, nerfDarts } = definitions()
  const node = await npm('which')(process.argv0).catch(() => null)
  if (node) process.execPath = node
  const argv = [process.execPath, path.join(npmRoot, 'bin', 'npm-cli.js'), 'run', ...words]
  const config = new Config({ npmPath: npmRoot, definitions: known, shorthands, flatten, nerfDarts, argv, execPath: process.execPath, warn: false })
  await config.load()
  for (const level of config.data.values()) {
    if (level.source && path.isAbsolute(level.source)) sources.add(level.source)
  }
  for (const place of ['userconfig', 'globalconfig']) sources.add(config.get(place))
  sources.add(path.join(npmRoot, 'npmrc'))
  sources.add(path.join(config.localPrefix, '.npmrc'))
  return config
}

const main = async () => {
  const version = npm('./package.json').version
  const major = Number(version.split('.')[0])
  const config = await loadConfig()
  const flat = config.flat
  process.env.COLOR = flat.color ? '1' : '0'
  // npm named its command `run-script` until version 11.
  process.env.npm_command = major >= 11 ? 'run' : 'run-script'
  const workspace = config.get('workspace')
  // In a workspace's folder npm takes that workspace although nobody names it.
  const folder = pkgDir ?? (workspace.length === 1 ? workspace[0] : config.localPrefix)
  const PackageJson = npm('@npmcli/package-json')
  const { content: pkg } = await PackageJson.normalize(folder)
  const [event, ...args] = config.parsedArgv.remain.slice(1)
  const scripts = pkg.scripts ?? {}
  if (!Object.hasOwn(scripts, event)) throw new Error(`no script ${event}`)
  const events = [[event, args]]
  if (!config.get('ignore-scripts')) {
    if (scripts[`pre${event}`]) events.unshift([`pre${event}`, []])
    if (scripts[`post${event}`]) events.push([`post${event}`, []])
  }
  const lib = path.join(path.dirname(npm.resolve('@npmcli/run-script')))
  const makeSpawnArgs = npm(path.join(lib, 'make-spawn-args.js'))
  const packageEnvs = npm(path.join(lib, 'package-envs.js'))
  const escape = npm(path.join(path.dirname(npm.resolve('@npmcli/promise-spawn')), 'escape.js'))
  const silent = flat.silent ?? config.get('loglevel') === 'silent'
  const shell = config.get('script-shell') || 'sh'
  const steps = events.map(([name, extra]) => {
    const cmd = scripts[name]
    const [, , { env, cwd }] = makeSpawnArgs({
      args: extra, cmd, event: name, path: folder, env: { ...packageEnvs(pkg) }, nodeGyp: config.get('node-gyp'), stdio: 'inherit', scriptShell: shell,
    })
    const set = Object.fromEntries(Object.entries(env).filter(([key, value]) => before[key] !== String(value)).map(([key, value]) => [key, String(value)]))
    const unset = Object.keys(before).filter((key) => !(key in env))
    const shown = `> ${cmd.trim().replace(/\n/g, '\n> ')}` + (extra.length ? ` ${extra.join(' ')}` : '')
    const banner = silent ? '' : `\n> ${pkg._id ? `${pkg._id} ` : ''}${name}\n${shown}\n\n`
    return { event: name, shell, script: [cmd, ...extra.map((arg) => escape.sh(arg))].join(' '), banner, cwd, set, unset }
  })
  fs.writeSync(1, JSON.stringify({ package: folder, id: pkg._id ?? pkg.name ?? '', steps, files: [...sources].filter(Boolean) }))
}

main().then(() => process.exit(0), (error) => {
  fs.writeSync(2, `${error.message}\n`)
  process.exit(1)
})
