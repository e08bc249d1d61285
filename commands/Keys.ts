/**
 * The key ring of a stage: `npm run keys -- list | add | promote <kid> | remove <kid>`. Private keys are not shown.
 */
import { parseArgs } from 'node:util'
import type { KeyRing } from '../auth/Tokens.ts'
import { parseSetting } from '../api/Settings.ts'
import { addKey, describeKeys, promoteKey, recordDeployment, removeKey } from '../plugin/Keys.ts'
import { fileOf, isStage, LOCAL_STAGE, updateKeyRing } from '../plugin/Secrets.ts'

const HELP = `Usage:
  npm run keys -- list            what is known of each key, and what can be done with it
  npm run keys -- add             makes a key, which verifies from the next deployment on
  npm run keys -- promote <kid>   makes it the one that signs
  npm run keys -- remove <kid>    takes it out

  --stage prod                      the keys of secrets.prod.json instead of secrets.json
  --url https://auth.example.com    first records which keys this API has: after a deployment by a pipeline
  --force                           promotes or removes without the wait: for a key that has leaked

Deploy after each change.
`

/** A command line that makes no sense. */
class Misuse extends Error {}

try {
  process.stdout.write(`${await run(process.argv.slice(2))}\n`)
} catch (error) {
  process.stderr.write(error instanceof Misuse ? HELP : `${(error as Error).message}\n`)
  process.exitCode = 1
}

/**
 * @returns what to print
 * @throws Misuse, and Error with a sentence when it is refused; the file is then as before
 */
async function run([command = '', ...args]: string[]): Promise<string> {
  const takesKid = command === 'promote' || command === 'remove'
  // By its place, since a thumbprint may begin with a hyphen.
  const kid = takesKid ? args.shift() : ''
  const { stage, url, force } = options(args)
  if (!/^(list|add|promote|remove)$/.test(command) || kid === undefined || (force && !takesKid)) {
    throw new Misuse()
  }

  const now = new Date()
  const update = (change: Parameters<typeof updateKeyRing>[2]) =>
    updateKeyRing(process.cwd(), fileOf(stage), change)
  if (url !== undefined) {
    const deployed = await publishedKeys(url)
    // Kept also where the change is refused: the time that the refusal names counts from here.
    update((keyRing) => recordDeployment(keyRing, deployed, now))
  }

  if (command === 'list')
    return describeKeys(
      update((keyRing) => keyRing),
      now,
    ).join('\n')
  let said = ''
  update((before) => {
    const { keyRing, says } =
      command === 'add'
        ? addKey(before, now)
        : (command === 'promote' ? promoteKey : removeKey)(before, kid, now, force)
    said = says
    return keyRing
  })
  return said
}

function options(args: string[]) {
  try {
    const { values } = parseArgs({
      args,
      options: {
        stage: { type: 'string', default: LOCAL_STAGE },
        url: { type: 'string' },
        force: { type: 'boolean', default: false },
      },
    })
    if (isStage(values.stage)) return values
  } catch {
    // an unknown option, or one without its value
  }
  throw new Misuse()
}

/** The JWKS of an API, as its verifiers see it. */
async function publishedKeys(url: string): Promise<KeyRing> {
  const address = `${url.replace(/\/$/, '')}/.well-known/jwks.json`
  const advice = 'Give the URL that clients use for the API: --url https://auth.example.com'
  let text
  try {
    const response = await fetch(address, { signal: AbortSignal.timeout(10_000) })
    text = await response.text()
  } catch {
    throw new Error(`${address} cannot be reached. ${advice}`)
  }
  try {
    return parseSetting('VERIFICATION_KEYS', text)
  } catch {
    throw new Error(`${address} does not answer with public keys of this API. ${advice}`)
  }
}
