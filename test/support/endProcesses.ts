/**
 * After each test file: nothing of it goes on running, whatever has failed.
 */
import { endProcesses } from '../../support/project.ts'

afterAll(endProcesses)
