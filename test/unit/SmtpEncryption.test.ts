/**
 * To which servers a mail may go without TLS: this machine alone.
 */
import { isThisMachine } from '../../lib/Network.ts'

test.each([
  { url: 'smtp://localhost:2525', want: true },
  { url: 'smtp://127.0.0.1', want: true },
  { url: 'smtp://[::1]:2525', want: true },
  { url: 'smtp://smtp.example.com', want: false },
  { url: 'smtp://localhost.example.com', want: false },
  { url: 'smtp://localhost-relay', want: false },
  { url: 'smtp://127.0.0.1.example.com', want: false },
  { url: 'smtp://127.mail.example.com', want: false },
  { url: 'smtp://[::1f]', want: false },
  { url: 'smtp://192.0.2.1', want: false },
])('mail may go in clear to $url: $want', ({ url, want }) => {
  expect(isThisMachine(new URL(url).hostname)).toBe(want)
})
