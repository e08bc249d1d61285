import mongoose from 'mongoose'
import { users } from '../../user/UserHandler.ts'
import { dropDatabase, onDatabase } from '../support/database.ts'
import { request } from '../../support/events.ts'

const DB = process.env['DB']!
const ids = Array.from({ length: 45 }, () => new mongoose.Types.ObjectId())
const idOf = (index: number) => ids[index]!.toHexString()

const list = async (query: Record<string, string | string[]>) => {
  const result = await users(request({ query }))
  return { ...result, body: JSON.parse(result.body) as { id: string }[], link: result.headers!['Link'] }
}

beforeAll(() =>
  onDatabase(DB, (database) =>
    database.collection('users').insertMany(
      ids.map((_id, index) => ({
        _id,
        name: `User ${index}`,
        email: `user-${index}@example.com`,
        passwordHash: 'v1$2b$04$secret',
        roles: ['user'],
        disabled: index === 44,
        createdAt: new Date(),
      })),
    ),
  ),
)

afterAll(async () => {
  await mongoose.disconnect()
  await dropDatabase(DB)
})

test('shows id, name and createdAt, and nothing else: no email, no hash', async () => {
  const { statusCode, body } = await list({})
  expect(statusCode).toBe(200)
  expect(body[0]).toEqual({ id: idOf(0), name: 'User 0', createdAt: expect.any(String) })
})

test('gives 20 a page and a link to the next, until there is no more; a disabled account is not shown', async () => {
  const seen: string[] = []
  const pages: number[] = []
  for (let query: Record<string, string> | undefined = {}; query;) {
    const { body, link } = await list(query)
    seen.push(...body.map(({ id }) => id))
    pages.push(body.length)
    const next = /^<https:\/\/auth\.test\/users\?(.+)>; rel="next"$/.exec(String(link ?? ''))?.[1]
    query = next ? Object.fromEntries(new URLSearchParams(next)) : undefined
  }
  expect(pages).toEqual([20, 20, 4])
  expect(seen).toEqual(ids.slice(0, 44).map(String))
})

test.each([
  { name: 'the limit', query: { limit: '3' }, want: [0, 1, 2] },
  { name: 'the cursor', query: { limit: '2', after: idOf(9) }, want: [10, 11] },
  { name: 'the cursor of somebody who is gone', query: { limit: '1', after: 'f'.repeat(24) }, want: [] },
])('keeps to $name', async ({ query, want }) => {
  expect((await list(query)).body.map(({ id }) => id)).toEqual(want.map(idOf))
})

test.each([
  { name: 'a limit of 0', query: { limit: '0' }, path: 'limit' },
  { name: 'a limit over 100', query: { limit: '101' }, path: 'limit' },
  { name: 'a limit that is no number', query: { limit: '1e2' }, path: 'limit' },
  { name: 'a cursor that is no id', query: { after: '../x' }, path: 'after' },
  { name: 'an operator', query: { 'after[$gt]': '' }, path: 'after[$gt]' },
  { name: 'an unknown parameter', query: { email: 'x' }, path: 'email' },
  { name: 'a parameter given twice', query: { limit: ['1', '2'] }, path: 'limit' },
])('refuses $name, naming it', async ({ query, path }) => {
  const { statusCode, body } = await list(query)
  expect(statusCode).toBe(400)
  expect(body).toMatchObject({ code: 'invalid_request', errors: [{ path }] })
})
