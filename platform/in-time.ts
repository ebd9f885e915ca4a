/** @throws the error of `lateError` if the task takes longer than `ms` */
export async function inTime<Result>(task: Promise<Result>, ms: number, lateError: () => Error): Promise<Result> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(lateError()), ms);
  });
  try {
    return await Promise.race([task, late]);
  } finally {
    clearTimeout(timer);
  }
}
