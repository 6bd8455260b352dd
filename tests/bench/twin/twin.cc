// tests/bench/twin/twin.cc - the registrations of twin.c, made with the C++ library.
#include "work.h"

#include <algorithm>
#include <benchmark/benchmark.h>
#include <chrono>
#include <cstring>
#include <thread>
#include <vector>

using benchmark::Counter;
using benchmark::State;

static void empty(State &st)
{
    for (auto _ : st)
        benchmark::ClobberMemory();
}

static void plain(State &st)
{
    for (auto _ : st) {
        double x = work(2000);
        benchmark::DoNotOptimize(x);
    }
}

static void copy_bytes(State &st)
{
    size_t n = static_cast<size_t>(st.range(0));
    std::vector<char> a(2 * n);
    for (auto _ : st) {
        memcpy(a.data(), a.data() + n, n);
        benchmark::DoNotOptimize(a.data());
        benchmark::ClobberMemory();
    }
    st.SetBytesProcessed(st.iterations() * static_cast<int64_t>(n));
    st.SetItemsProcessed(st.iterations());
    st.SetComplexityN(static_cast<int64_t>(n));
    st.SetLabel("lab\"el");
}

static void counters(State &st)
{
    while (st.KeepRunning()) {
        double x = work(50);
        benchmark::DoNotOptimize(x);
    }
    st.counters["value"] = 42;
    st.counters["rate"] = Counter(1e6, Counter::kIsRate);
    st.counters["threads_avg"] = Counter(8, Counter::kAvgThreads);
    st.counters["threads_rate"] = Counter(8, Counter::kAvgThreadsRate);
    st.counters["invariant"] = Counter(2, Counter::kIsIterationInvariant);
    st.counters["invariant_rate"] = Counter(2, Counter::kIsIterationInvariantRate);
    st.counters["iterations_avg"] = Counter(1000, Counter::kAvgIterations);
    st.counters["inverted"] = Counter(4, Counter::kInvert);
    st.counters["seconds"] = Counter(1e6, Counter::Flags(Counter::kIsRate | Counter::kInvert));
    st.counters["kibi"] = Counter(16384, Counter::kDefaults, Counter::kIs1024);
}

static void batch(State &st)
{
    while (st.KeepRunningBatch(7)) {
        double x = work(70);
        benchmark::DoNotOptimize(x);
    }
}

static void paused(State &st)
{
    for (auto _ : st) {
        st.PauseTiming();
        double x = work(10);
        benchmark::DoNotOptimize(x);
        st.ResumeTiming();
        x = work(10);
        benchmark::DoNotOptimize(x);
    }
}

static void manual(State &st)
{
    for (auto _ : st) {
        double x = work(10);
        benchmark::DoNotOptimize(x);
        st.SetIterationTime(1e-4);
    }
}

static void wait_10_ms(State &st)
{
    for (auto _ : st)
        std::this_thread::sleep_for(std::chrono::milliseconds(10));
    st.counters["rate"] = Counter(static_cast<double>(st.iterations()), Counter::kIsRate);
}

static void broken(State &st)
{
    for (auto _ : st) {
        st.SkipWithError("bad \"thing\"");
        break;
    }
}

static double half(benchmark::IterationCount n)
{
    return static_cast<double>(n) / 2;
}

static double largest(const std::vector<double> &x)
{
    return *std::max_element(x.begin(), x.end());
}

static double spread(const std::vector<double> &x)
{
    double least = *std::min_element(x.begin(), x.end());
    return (largest(x) - least) / least;
}

static void nothing(const State &)
{
}

static benchmark::internal::Benchmark *add(const char *name, void (*fn)(State &))
{
    return benchmark::RegisterBenchmark(name, fn);
}

int main(int argc, char **argv)
{
    add("empty", empty);
    add("plain", plain);
    add("copy", copy_bytes)->ArgName("n")->Range(8, 4096)->Complexity(benchmark::oAuto);
    add("copy/custom", copy_bytes)->DenseRange(64, 192, 64)->Complexity(half)
        ->Unit(benchmark::kMicrosecond);
    add("counters", counters);
    add("counters/two", counters)->Threads(2);
    add("batch", batch)->Args({1, -2})->Args({3, 4})->ArgNames({"a", ""})->Iterations(100);
    add("paused", paused)->Iterations(50)->Repetitions(2)->MeasureProcessCPUTime();
    add("manual", manual)->MinTime(0.25)->Repetitions(3)->UseManualTime()
        ->ComputeStatistics("max", largest)
        ->ComputeStatistics("spread", spread, benchmark::kPercentage);
    add("wait_10_ms", wait_10_ms)->UseRealTime()->Threads(4)->Unit(benchmark::kMillisecond)
        ->Iterations(5);
    add("broken", broken);
    add("broken/twice", broken)->Threads(2)->Repetitions(2);
    add("threads", plain)->ThreadRange(1, 3)->Setup(nothing)->Teardown(nothing);
    add("product", plain)->Ranges({{1, 8}, {-2, 2}})->ReportAggregatesOnly(true)->Repetitions(2);
    add("both", plain)->MeasureProcessCPUTime()->UseRealTime()->DenseThreadRange(1, 4, 2)
        ->DisplayAggregatesOnly(true);
    add("DISABLED_plain", plain);
    benchmark::Initialize(&argc, argv);
    if (benchmark::ReportUnrecognizedArguments(argc, argv))
        return 1;
    benchmark::RunSpecifiedBenchmarks();
    return 0;
}
