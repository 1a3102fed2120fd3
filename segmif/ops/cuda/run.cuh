// Pairs and runs of values, as they are held and moved.
#pragma once

#include "team.cuh"
#if defined(__CUDACC__)
#include "tensor_core.cuh"
#endif

namespace segmif {

// Two values, moved together.
template <class T>
struct PairOf {
    struct alignas(2 * sizeof(T)) type {
        T x, y;
    };
};
#if defined(__CUDACC__)
template <>
struct PairOf<Half> {
    using type = __half2;
};
#endif
template <class T>
using Pair = typename PairOf<T>::type;

template <class T>
SEGMIF_INLINE Pair<T> join(T x, T y) {
    Pair<T> pair;
    pair.x = x, pair.y = y;
    return pair;
}

template <class T>
SEGMIF_INLINE Pair<T> to_pair(float x, float y) {
    return join(from_float<T>(x), from_float<T>(y));
}
#if defined(__CUDACC__)
template <>
SEGMIF_INLINE Pair<Half> to_pair<Half>(float x, float y) {
    return __floats2half2_rn(x, y);  // one instruction
}
#endif

// Four adjacent values.
template <class T>
struct alignas(4 * sizeof(T)) Run {
    Pair<T> pair[2];

    SEGMIF_INLINE T get(int i) const { return i % 2 ? pair[i / 2].y : pair[i / 2].x; }
    SEGMIF_INLINE void set(int i, T value) { (i % 2 ? pair[i / 2].y : pair[i / 2].x) = value; }
};

// A word as long as a run: a compiler moves it by one instruction, the parts of a run by several.
template <class T>
struct WordOf {
#if defined(__CUDACC__)
    using type = uint4;
#else
    using type = Run<T>;
#endif
};
#if defined(__CUDACC__)
template <>
struct WordOf<Half> {
    using type = uint2;
};
#endif

// A whole run at a multiple of its size.
template <class T>
SEGMIF_INLINE Run<T> read_run(const T* from) {
    using Word = typename WordOf<T>::type;
    const Word word = fetch(reinterpret_cast<const Word*>(from));
    Run<T> run;
    std::memcpy(&run, &word, sizeof run);
    return run;
}

// The same of what the kernel in front wrote.
template <class T>
SEGMIF_INLINE Run<T> read_written_run(const T* from) {
    using Word = typename WordOf<T>::type;
    const Word word = *reinterpret_cast<const Word*>(from);
    Run<T> run;
    std::memcpy(&run, &word, sizeof run);
    return run;
}

template <class T>
SEGMIF_INLINE void write_run(T* to, const Run<T>& run) {
    using Word = typename WordOf<T>::type;
    Word word;
    std::memcpy(&word, &run, sizeof word);
    *reinterpret_cast<Word*>(to) = word;
}

// The first `count` values at `from`, zeros after them.
template <class T>
SEGMIF_INLINE Run<T> read_some(const T* from, int count) {
    Run<T> run;
    SEGMIF_UNROLL
    for (int i = 0; i < 4; ++i) run.set(i, i < count ? fetch(from + i) : from_float<T>(0));
    return run;
}

template <class T>
SEGMIF_INLINE void write_some(T* to, const Run<T>& run, int count) {
    SEGMIF_UNROLL
    for (int i = 0; i < 4; ++i) {
        if (i < count) to[i] = run.get(i);
    }
}

}  // namespace segmif
