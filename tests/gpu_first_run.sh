#!/usr/bin/env bash
# What is claimed of kernels and of workers with a GPU, checked on one, and the first speeds beside the predicted ones.
# Each stage ends with a line of the table that comes last. Leaves clocks, power and MIG as they are.
# usage: tests/gpu_first_run.sh [--simulated [--quick]] [--device cuda:0] [--gpu h100] [--build DIR] [--model FILE]
#   --simulated: a rehearsal on the simulator, with programs of the release preset; --quick: a part of each stage.
#   --build: where the programs are; without it the preset cuda is built. --model: what the last stage serves;
#   --gpu: the card's name in `barn plan`, whose prediction then stands beside what was measured.
set -uo pipefail
cd "$(dirname "$0")/.."
device=cuda:0 gpu=h100 build="" suffix=_on_gpu model=tiny-moe quick=0 bench=(-p 512 -n 128)
while [[ $# -gt 0 ]]; do
  case "$1" in
    --simulated) device=simt:0 suffix="" build=${build:-build/release} bench=(-p 8 -n 2) ;;
    --quick) quick=1 ;;
    --device | --gpu | --build | --model) [[ $# -gt 1 ]] || { echo "$1 wants a value" >&2; exit 2; }
      declare "${1#--}=$2"; shift ;;
    *) sed -n 's/^# usage: /usage: /p' "$0" >&2; exit 2 ;;
  esac
  shift
done

table=() failed=0
stage() {  # stage NAME SECONDS COMMAND...: runs it, keeps its last lines if it fails
  local name=$1 limit=$2 began=$SECONDS status=0 log
  shift 2
  log=$(mktemp)
  echo "== $name"
  timeout "$limit" "$@" >"$log" 2>&1 || status=$?
  tail -n 40 "$log"
  rm -f "$log"
  [[ $status -eq 0 ]] || failed=1
  table+=("$(printf '%-34s %-18s %5d s' "$name" "$([[ $status -eq 0 ]] && echo passed || echo "FAILED ($status)")" $((SECONDS - began)))")
  return $status
}
skip() { table+=("$(printf '%-34s %s' "$1" "not run: $2")"); }
finish() {
  echo
  echo "device $device, $(git rev-parse --short HEAD 2>/dev/null || echo 'no commit'), $(date -u +%FT%TZ)"
  [[ $device == simt:* ]] && echo "SIMULATED: no time below says anything about a GPU"
  printf '%s\n' "${table[@]}"
  exit $failed
}

if [[ -z $build ]]; then
  build=build/cuda
  stage "build (preset cuda)" 1800 bash -c \
    'cmake --preset cuda >/dev/null && cmake --build --preset cuda --target barn gpu_programs -- --quiet' || finish
fi
build=$(cd "$build" && pwd) || exit 2
barn=$build/barn
[[ $device == simt:* ]] && barn=$build/tests/e2e/barn_simulated
export BARN_BINARY=$build/barn BARN_SIMULATED=$build/tests/e2e/barn_simulated BARN_TEST_GPU=$device \
  BARN_TEST_SHARED=$PWD/../shared BARN_TEST_MODELS=$PWD/build/test-models PYTHONDONTWRITEBYTECODE=1

usable() {
  "$barn" devices && "$barn" devices --json | python3 -c '
import json, sys
found = [entry for entry in json.load(sys.stdin) if entry["name"] == sys.argv[1]]
sys.exit(not found or not found[0]["usable"])' "$device"
}
stage "device $device" 60 bash -c "$(declare -f usable); barn=$barn device=$device; usable" || finish

kernels=(quantize_test gpu_norm_test gpu_rope_test gpu_elementwise_test gpu_embedding_test gpu_float_matvec_test
  gpu_kv_rows_test gpu_routed_rows_test routes_test gpu_logit_ranking_test matvec_test gpu_matmul_test gpu_attention_test
  gpu_device_test gpu_sequences_test graph_cache_test)
[[ $quick -eq 1 ]] && kernels=(quantize_test gpu_norm_test routes_test)
wrong=0
for test in "${kernels[@]}"; do
  stage "$test" 300 "$build/tests/kernels/cuda/$test$suffix" --gtest_brief=1 || wrong=1
done
if [[ $wrong -eq 1 ]]; then
  skip "everything else" "a kernel is wrong; find the smallest case first"
  finish
fi

if sanitizer=$(command -v compute-sanitizer) && [[ $device == cuda:* ]]; then
  for tool in memcheck racecheck synccheck initcheck; do
    for test in quantize_test routes_test gpu_norm_test; do
      stage "$tool of $test" 120 "$sanitizer" --tool "$tool" --error-exitcode 1 \
        "$build/tests/kernels/cuda/$test$suffix" --gtest_brief=1
    done
  done
else
  skip "compute-sanitizer" "$([[ $device == simt:* ]] && echo 'the simulator checks by itself' || echo 'it is not installed')"
fi

models='*'
[[ $quick -eq 1 ]] && models='*/llama_k_quants:*MatchesTheReference/gpt_oss_f32'
stage "slices of oracles/arch" 600 "$build/tests/worker/model/gpu_slice_test$suffix" --gtest_brief=1 "--gtest_filter=$models"
nccl=${BARN_NCCL:-libnccl.so.2}
[[ $device == simt:* ]] && nccl=$build/tests/simt/nccl/libbarn_simt_nccl.so
if [[ -e $nccl ]] || ldconfig -p | grep -q 'libnccl\.so\.2'; then
  stage "NCCL, one rank" 180 env BARN_NCCL="$nccl" \
    "$build/tests/worker/exchange/nccl_one_rank_test$suffix" --gtest_brief=1
else
  skip "NCCL, one rank" "it is not installed"
fi
python=build/test-venv/bin/python
[[ -x $python ]] || python=python3
tests=(GpuWorker)
[[ $quick -eq 1 ]] && tests=(GpuWorker.test_embedded_model)
stage "worker end to end" 600 "$python" tests/e2e/gpu_worker_test.py "${tests[@]}"

stage "predicted for $gpu" 60 "$barn" plan "$model" --node "gpu=$gpu"
memory=()
[[ $device == simt:* ]] && memory=(--memory 192MiB --context 512)
stage "speed of $model" 600 "$barn" bench "$model" "${bench[@]}" --device "$device" "${memory[@]}"
finish
