/**
 * A local service with all the processes that belong to it: started, timed, weighed and stopped.
 */
import { execFileSync } from 'node:child_process'
import { freePort } from '../../local/Ports.ts'
import { run } from '../../support/project.ts'
import { until } from '../../support/until.ts'

/** What runs now, so that nothing of it is left behind when this ends early. */
let running: number | undefined
process.once('exit', () => {
  if (running && isAlive(-running)) process.kill(-running, 'SIGKILL')
})

/** Starts a service and times it until a request is answered as it should be. */
export async function start(folder: string, command: string[], first: (url: string) => Promise<boolean>) {
  const [httpPort, lambdaPort] = [await freePort('localhost'), await freePort('localhost')]
  const ports = ['--httpPort', String(httpPort), '--lambdaPort', String(lambdaPort)]

  const began = performance.now()
  // A folder of its own for temporary files too: a fresh copy finds nothing that was compiled before.
  const { process: child, output } = run(folder, [...command, ...ports], {}, true)
  running = child.pid
  const url = `http://localhost:${httpPort}`
  await until(
    () => {
      if (child.exitCode !== null) throw new Error(`${command.join(' ')} has ended.`)
      return first(url).catch(() => false)
    },
    `an answer of ${command.join(' ')}`,
  )
  const seconds = (performance.now() - began) / 1000

  const stop = async () => {
    const all = tree(child.pid!)
    process.kill(-child.pid!, 'SIGINT') // Ctrl-C
    await until(() => !all.some(({ pid }) => isAlive(pid)), 'the end of all processes')
    running = undefined
  }
  const megabytes = () => tree(child.pid!).reduce((sum, { kilobytes }) => sum + kilobytes, 0) / 1024
  return { seconds, url, megabytes, output, stop }
}

/** A process and all that it has started, with the memory that each holds. */
function tree(root: number): { pid: number; kilobytes: number }[] {
  const lines = execFileSync('ps', ['-A', '-o', 'pid=,ppid=,rss='], { encoding: 'utf8' }).trim().split('\n')
  const all = lines.map((line) => line.trim().split(/\s+/).map(Number) as [number, number, number])
  const members = new Set([root])
  let size
  do {
    size = members.size
    for (const [pid, parent] of all) if (members.has(parent)) members.add(pid)
  } while (members.size > size)
  return all.filter(([pid]) => members.has(pid)).map(([pid, , kilobytes]) => ({ pid, kilobytes }))
}

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0)
  } catch {
    return false
  }
}
