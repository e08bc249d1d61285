/**
 * A packaged function in a process that stays, as Lambda keeps a container: it handles one event after the other.
 */
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Packages } from '../../support/packages.ts'

/** What became of an event; what was thrown is as it was, a string a string. */
export type Outcome = { returned: unknown } | { thrown: unknown }

export interface Container {
  invoke: (event: unknown) => Promise<Outcome>
  /** Ends the process, and gives what it printed, both streams. */
  stop: () => Promise<string>
}

/** How long Lambda would wait for an answer, in milliseconds (serverless.yml, provider.timeout). */
const TIMEOUT = 10_000

/**
 * Starts a function in a bare Node, far from node_modules.
 * @param environment over that of the template
 * @throws Error, from `invoke`, with what it printed when it does not answer or has ended
 */
export function startContainer(
  built: Packages,
  name: string,
  environment: Record<string, string> = {},
): Container {
  const folder = built.folderOf(name)
  const [file, member] = built.propertiesOf(name).Handler.split('.') as [string, string]
  const runner = join(folder, 'runner.mjs')
  writeFileSync(
    runner,
    `import { ${member} as handler } from './${file}.mjs'
process.on('message', (event) => {
  handler(event).then((returned) => ({ returned }), (thrown) => ({ thrown })).then((outcome) => process.send(outcome))
})
process.on('disconnect', () => process.exit())
`,
  )
  const child = fork(runner, {
    cwd: folder,
    env: { ...built.environmentOf(name), ...environment },
    execArgv: [],
    serialization: 'advanced',
    silent: true,
  })
  let printed = ''
  for (const stream of [child.stdout!, child.stderr!])
    stream.on('data', (chunk) => (printed += String(chunk)))
  const closed = once(child, 'close')

  return {
    invoke: async (event) => {
      const late = AbortSignal.timeout(TIMEOUT)
      try {
        const answer = once(child, 'message', { signal: late })
        if (child.connected) child.send(event as object)
        const [outcome] = await Promise.race([
          answer,
          closed.then(() => Promise.reject(new Error('it has ended'))),
        ])
        return outcome as Outcome
      } catch (cause) {
        const what = late.aborted ? 'did not answer' : 'has ended'
        throw new Error(`${name} ${what}:\n${printed.slice(-1000)}`, { cause })
      }
    },
    stop: async () => {
      // Not disconnect(), after which Node emits no close.
      child.kill()
      await closed
      return printed
    },
  }
}
