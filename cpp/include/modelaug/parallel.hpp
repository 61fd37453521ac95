// The only place that knows about threads.
#pragma once

#include <algorithm>
#include <exception>
#include <vector>

#ifdef MODELAUG_STD_THREADS
#include <thread>
#endif

#include "modelaug/grid.hpp"

namespace modelaug {

// True in a process forked from this one: the threads of the parent's pool do not exist there, and waiting for them
// hangs.
bool forked_child();

// Calls body(begin, end) for `threads` consecutive ranges that cover [0, count), each on a thread of its own. The body
// must give the same result however the range is cut. The exception of the lowest failing range is rethrown.
template <typename Body>
void parallel_for(index_t count, int threads, const Body& body) {
    const int team = forked_child() ? 1 : static_cast<int>(std::min<index_t>(std::max(threads, 1), count));
    if (team <= 1) {
        if (count > 0) body(index_t{0}, count);
        return;
    }
    std::vector<std::exception_ptr> failures(team);
    const auto run = [&](int part) {
        try {
            body(count * part / team, count * (part + 1) / team);
        } catch (...) {
            failures[part] = std::current_exception();
        }
    };
#ifdef MODELAUG_STD_THREADS
    std::vector<std::thread> helpers;
    for (int part = 1; part < team; ++part) helpers.emplace_back(run, part);
    run(0);
    for (std::thread& helper : helpers) helper.join();
#else
#pragma omp parallel for num_threads(team) schedule(static, 1)
    for (int part = 0; part < team; ++part) run(part);
#endif
    for (const std::exception_ptr& failure : failures)
        if (failure) std::rethrow_exception(failure);
}

}  // namespace modelaug
