/**
 * Every email, as text and HTML. No email contains anything that a stranger typed, such as a name. Otherwise,
 * someone could register another person's address and send them advertisements that way.
 */
import type { Mail } from './Smtp.ts'
import type { MailJob, Notice } from './MailJobs.ts'

/** What emails say about the product and the request. */
export interface Facts {
  /** PRODUCT_NAME. */
  product: string
  /** APP_URL, the base URL of the links. */
  appUrl: string
  /** The time of the request. */
  time: Date
  /** The IP address of the request. */
  address: string | undefined
}

interface Content {
  subject: string
  paragraphs: string[]
  link?: { label: string; url: string }
}

/** The emails with a link. The token is in the fragment, which browsers do not send to servers. */
export const linkMails: Record<
  Exclude<MailJob['mail'], 'notice' | 'registeredAlready'>,
  (facts: Facts, token: string) => Content
> = {
  emailVerification: ({ product, appUrl }, token) => ({
    subject: `Confirm your email address for ${product}`,
    paragraphs: [
      `Someone, probably you, signed up for ${product} with this email address.`,
      'If this was you, please confirm the address within 24 hours. If not, you can ignore this email.',
    ],
    link: { label: 'Confirm my address', url: `${appUrl}/verify-email#token=${token}` },
  }),
  passwordReset: ({ product, appUrl }, token) => ({
    subject: `Reset your password for ${product}`,
    paragraphs: [
      `Someone, probably you, asked to reset the password of your ${product} account.`,
      'If this was you, choose a new password within 30 minutes. You will be signed out everywhere. If not, you can ignore this email, and your password stays the same.',
    ],
    link: { label: 'Choose a new password', url: `${appUrl}/reset-password#token=${token}` },
  }),
  emailChange: ({ product, appUrl }, token) => ({
    subject: `Confirm your new email address for ${product}`,
    paragraphs: [
      `Someone, probably you, wants to use this email address for their ${product} account.`,
      'If this was you, please confirm the address within 24 hours. If not, you can ignore this email.',
    ],
    link: { label: 'Use this address', url: `${appUrl}/verify-email#token=${token}` },
  }),
}

export const registeredAlready = ({ product, appUrl }: Facts): Content => ({
  subject: `You already have an account with ${product}`,
  paragraphs: [
    `Someone, probably you, tried to sign up for ${product} with this email address. You already have an account, so nothing was changed.`,
    'If this was you, sign in. If you forgot your password or never confirmed this address, choose a new password with "Forgot password". If it was not you, you can ignore this email.',
  ],
  link: { label: 'Sign in', url: appUrl },
})

const changes: Record<Notice, { subject: string; what: string }> = {
  passwordChanged: {
    subject: 'Your password was changed',
    what: 'the password of your account was changed, and all other devices were signed out',
  },
  passwordReset: {
    subject: 'Your password was reset',
    what: 'the password of your account was reset with the link that we emailed you, and all devices were signed out',
  },
  emailChangeRequested: {
    subject: 'Your email address is about to change',
    what: 'someone asked to use a different email address for your account. The change takes effect once that address is confirmed',
  },
  emailChanged: {
    subject: 'Your email address was changed',
    what: 'the email address of your account was changed, and this address no longer belongs to it',
  },
  mfaEnabled: {
    subject: 'A second factor was set up',
    what: 'an authenticator app was set up as a second factor for your account',
  },
  mfaDisabled: {
    subject: 'The second factor was turned off',
    what: 'the second factor of your account was turned off',
  },
  mfaRemoved: {
    subject: 'The second factor was removed',
    what: 'an admin removed the second factor of your account, so signing in needs only your password',
  },
  recoveryCodeUsed: {
    subject: 'A recovery code was used',
    what: 'one of your recovery codes was used instead of your authenticator app',
  },
  recoveryCodesReplaced: {
    subject: 'You have new recovery codes',
    what: 'new recovery codes were created for your account, and the old ones no longer work',
  },
  sessionStolen: {
    subject: 'We signed one of your devices out',
    what: 'one of your sessions was used from two places, so someone may have copied it. We ended that session to be safe',
  },
  accountDeleted: {
    subject: 'Your account was deleted',
    what: 'your account was deleted',
  },
  adminAdded: {
    subject: 'There is a new admin',
    what: 'another user became an admin',
  },
}

export function noticeMail(
  { product, time, address }: Facts,
  { notice, subjectId }: { notice: Notice; subjectId?: string },
): Content {
  const { subject, what } = changes[notice]
  const whom = subjectId ? ` (id ${subjectId})` : ''
  const when = `${time.toISOString().slice(0, 16).replace('T', ' ')} UTC`
  return {
    subject: `${product}: ${subject.charAt(0).toLowerCase()}${subject.slice(1)}`,
    paragraphs: [
      `On ${when}${address ? `, from the IP address ${address}` : ''}, ${what}${whom}.`,
      advice(notice),
    ],
  }
}

function advice(notice: Notice): string {
  if (notice === 'adminAdded')
    return 'If you did not expect this, take the role away and find out who gave it.'
  // Their readers can no longer get into the account.
  if (notice === 'accountDeleted' || notice === 'emailChanged') {
    return 'If this was not you, please contact us immediately.'
  }
  const who = notice === 'mfaRemoved' ? 'If you did not ask for this' : 'If this was not you'
  return `${who}, reset your password immediately with "Forgot password", and contact us.`
}

/** Renders an email, with the same words as text and HTML. */
export function render({ subject, paragraphs, link }: Content, product: string, to: string): Mail {
  const text = [...paragraphs, ...(link ? [`${link.label}:`, link.url] : []), `-- \n${product}`].join('\n\n')
  const paragraph = (html: string) => `<p style="margin:0 0 16px">${html}</p>`
  const button = link
    ? [
        paragraph(
          `<a href="${escape(link.url)}" style="display:inline-block;padding:12px 20px;border-radius:6px;background:#1f4fd8;color:#fff;text-decoration:none">${escape(link.label)}</a>`,
        ),
        paragraph(
          `Or copy this link into your browser:<br><a href="${escape(link.url)}" style="word-break:break-all">${escape(link.url)}</a>`,
        ),
      ]
    : []
  const html = `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>${escape(subject)}</title></head>
<body style="margin:0;padding:24px;font:16px/1.5 system-ui,sans-serif;color:#1a1a1a;background:#fff">
<div style="max-width:560px;margin:0 auto">
${[...paragraphs.map(escape).map(paragraph), ...button].join('\n')}
<p style="margin:32px 0 0;color:#666">${escape(product)}</p>
</div></body></html>
`
  return { to, subject, text: `${text}\n`, html }
}

const escape = (text: string) => text.replaceAll(/[&<>"']/g, (character) => `&#${character.codePointAt(0)};`)
