// The threads of a CUDA block, and the barriers at which they wait for one another.
//
// They take turns in one thread of the CPU, each until it waits or ends. With OS_THREADS they are threads of the
// operating system, which sanitizers follow. A barrier then costs each of them a context switch of the kernel.
#pragma once
#include <vector>

#if defined(OS_THREADS)
#include <pthread.h>

#include <thread>

class Barrier {
public:
    explicit Barrier(unsigned count) { pthread_barrier_init(&barrier_, nullptr, count); }
    ~Barrier() { pthread_barrier_destroy(&barrier_); }
    Barrier(const Barrier&) = delete;
    void wait() { pthread_barrier_wait(&barrier_); }

private:
    pthread_barrier_t barrier_;
};

// Calls work(rank) in each of `count` threads.
template <class Work>
void run_threads(unsigned count, Work work) {
    std::vector<std::thread> team;
    for (unsigned rank = 0; rank < count; ++rank) team.emplace_back(work, rank);
    for (std::thread& thread : team) thread.join();
}
#else
#include <ucontext.h>

#include <cstdio>
#include <cstdlib>
#include <deque>
#include <functional>
#include <memory>

struct Turns {
    std::function<void(unsigned)> work;
    ucontext_t chooser{};            // goes on when a thread waits or ends
    ucontext_t* running = nullptr;
    std::deque<ucontext_t*> ready{};
    unsigned ended = 0;
};
inline Turns* turns = nullptr;  // of the innermost kernel: one may run the one in front

inline void take_turns(int rank) {
    turns->work(rank);
    ++turns->ended;
}

class Barrier {
public:
    explicit Barrier(unsigned count) : count_(count) {}
    void wait() {
        if (waiting_.size() + 1 == count_) {
            turns->ready.insert(turns->ready.end(), waiting_.begin(), waiting_.end());
            return waiting_.clear();
        }
        waiting_.push_back(turns->running);
        swapcontext(turns->running, &turns->chooser);
    }

private:
    unsigned count_;
    std::vector<ucontext_t*> waiting_;
};

// Calls work(rank) in each of `count` threads.
template <class Work>
void run_threads(unsigned count, Work work) {
    constexpr size_t STACK = 256 * 1024;
    Turns own{work};
    Turns* const outer = turns;
    turns = &own;
    std::vector<ucontext_t> threads(count);
    const std::unique_ptr<char[]> stacks(new char[count * STACK]);  // pages that nobody touches take no memory
    for (unsigned rank = 0; rank < count; ++rank) {
        ucontext_t& thread = threads[rank];
        getcontext(&thread);
        thread.uc_stack.ss_sp = stacks.get() + rank * STACK, thread.uc_stack.ss_size = STACK;
        thread.uc_link = &own.chooser;
        makecontext(&thread, reinterpret_cast<void (*)()>(take_turns), 1, static_cast<int>(rank));
        own.ready.push_back(&thread);
    }
    while (!own.ready.empty()) {
        own.running = own.ready.front();
        own.ready.pop_front();
        swapcontext(&own.chooser, own.running);
    }
    turns = outer;
    if (own.ended == count) return;
    std::fputs("some threads wait at a barrier that others never reach\n", stderr);
    std::abort();
}
#endif
