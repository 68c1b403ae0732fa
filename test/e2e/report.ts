// What ginkgo says of a run, read from its JSON report: how many tests passed, which failed and why. Pure.

interface Spec {
  readonly LeafNodeType: string
  readonly LeafNodeText: string
  readonly ContainerHierarchyTexts: readonly string[] | null
  readonly State: string
  readonly Failure?: { readonly Message: string }
}

export interface Report {
  readonly SpecReports: readonly Spec[] | null
}

export interface Outcome {
  readonly passed: number
  readonly failures: readonly { readonly name: string; readonly message: string }[]
}

const notRun = new Set(['skipped', 'pending'])

/** Tests count, and what is done before and after all of them when it fails. */
export const outcomeOf = (reports: readonly Report[]): Outcome => {
  const specs = reports.flatMap(it => it.SpecReports ?? []).filter(it => !notRun.has(it.State))
  const failed = specs.filter(it => it.State !== 'passed')
  return {
    passed: specs.filter(it => it.LeafNodeType === 'It' && it.State === 'passed').length,
    failures: failed.map(it => ({
      name: [...(it.ContainerHierarchyTexts ?? []), it.LeafNodeText || it.LeafNodeType].join(' '),
      message: it.Failure?.Message ?? it.State,
    })),
  }
}
