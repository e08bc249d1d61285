import { loggable } from '../../lib/Log.ts'

const duplicate = Object.assign(
  new Error(
    'E11000 duplicate key error collection: auth.users index: email_1 dup key: { email: "ann@example.com" }',
  ),
  { code: 11000, keyValue: { email: 'ann@example.com' } },
)

test.each([
  { name: 'the email of a duplicate key', error: duplicate, secret: 'ann@example.com' },
  {
    name: 'the password of a connection string',
    error: new Error('cannot reach mongodb://ann:s3cret@db.example.com/auth'),
    secret: 's3cret',
  },
  { name: 'a cause', error: new Error('outer', { cause: duplicate }), secret: 'ann@' },
  { name: 'a thrown text', error: 'ann@example.com', secret: 'ann@' },
  {
    name: 'a member that somebody has put on it',
    error: Object.assign(new Error('x'), { body: 's3cret' }),
    secret: 's3cret',
  },
])('the log of an error does not hold $name', ({ error, secret }) => {
  expect(JSON.stringify(loggable(error))).not.toContain(secret)
})

test('the log of an error says what it was', () => {
  expect(loggable(new TypeError('outer', { cause: duplicate }))).toEqual({
    name: 'TypeError',
    message: 'outer',
    stack: expect.stringContaining('Log.test.ts'),
    cause: {
      name: 'Error',
      code: 11000,
      message:
        'E11000 duplicate key error collection: auth.users index: email_1 dup key: { email: "[redacted]" }',
      stack: expect.any(String),
    },
  })
})
