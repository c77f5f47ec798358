#!/usr/bin/env bash
# Pin every role anew: envs/<role>.in -> envs/<role>.txt. Needs pip-tools.
# The roles that share one .venv are solved together first, so that their pins agree.
set -euo pipefail
cd "$(dirname "$0")"
compile() {
  pip-compile -q --strip-extras --no-header --no-emit-index-url --no-emit-find-links \
    --no-emit-trusted-host --annotation-style=line "$@"
}
together=$(mktemp --suffix=.txt)
trap 'rm -f "$together"' EXIT
rm -f figures.txt workflow.txt benchmark-cpu.txt benchmark-gpu.txt dev.txt
compile -o "$together" figures.in workflow.in benchmark-cpu.in dev.in
for role in figures workflow benchmark-cpu dev; do
  compile -c "$together" -o "$role.txt" "$role.in"
done
compile -c figures.txt -c workflow.txt -o benchmark-gpu.txt benchmark-gpu.in
# A local build of torch must not enter the pin; where a constraint came from is noise.
sed -i -e 's/+cpu//' -e 's/-c [^ ,]*, //; s/-c [^ ,]*$//' ./*.txt

# The same pins as conda environments: conda copies the YAML elsewhere, so it cannot refer to the lock.
for lock in figures workflow benchmark-cpu benchmark-gpu; do
  {
    echo "# Made from $lock.txt by lock.sh."
    printf 'name: inferbench-%s\nchannels: [conda-forge]\ndependencies:\n  - python=3.12\n  - pip\n' "$lock"
    if test "$lock" = benchmark-gpu; then
      # What flash-attn is compiled with, by benchmark-gpu.post-deploy.sh: the CUDA that torch is built for.
      printf '  - %s\n' cuda-nvcc=13.0 cuda-libraries-dev=13.0 gxx ninja setuptools wheel
    fi
    printf '  - pip:\n'
    sed -e 's/ *#.*//' -e '/^$/d' -e 's/^/      - /' "$lock.txt"
  } >"$lock.yaml"
done
