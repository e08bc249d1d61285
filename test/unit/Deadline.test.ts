/**
 * The deadline of a request: what counts and what does not. Times are far apart, so that no slow machine blurs them.
 */
import { setTimeout } from 'node:timers/promises'
import { Deadline, DeadlineExceeded } from '../../lib/Deadline.ts'

const never = () => new Promise<never>(() => undefined)

test('work that is done in time gives its result, or its own error', async () => {
  const deadline = new Deadline(60_000)
  expect(await deadline.wait(async () => 'done')).toBe('done')
  await expect(deadline.wait(() => Promise.reject(new Error('its own')))).rejects.toThrow('its own')
  expect(deadline.isOver).toBe(false)
})

test('work that never ends is given up', async () => {
  const deadline = new Deadline(20)
  await expect(deadline.wait(never)).rejects.toThrow(new DeadlineExceeded('no answer within 20 ms'))
  expect(deadline.isOver).toBe(true)
})

test('waits in a row share the time: a later one has what the earlier ones left', async () => {
  const deadline = new Deadline(1_000)
  await deadline.wait(() => setTimeout(900))
  const start = performance.now()
  await expect(deadline.wait(never)).rejects.toThrow(DeadlineExceeded)
  expect(performance.now() - start).toBeLessThan(900)
  await expect(deadline.wait(never)).rejects.toThrow(DeadlineExceeded)
})

test('what is done between two waits, such as hashing, does not count', async () => {
  const deadline = new Deadline(300)
  await deadline.wait(async () => undefined)
  await setTimeout(600)
  expect(deadline.isOver).toBe(false)
  expect(await deadline.wait(async () => 'done')).toBe('done')
})

test('waits at the same time count once', async () => {
  const deadline = new Deadline(1_500)
  await Promise.all(Array.from({ length: 20 }, () => deadline.wait(() => setTimeout(200))))
  expect(deadline.isOver).toBe(false)
})
