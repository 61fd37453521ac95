#include "modelaug/parallel.hpp"

#include <atomic>

#if defined(__unix__) || defined(__APPLE__)
#include <pthread.h>
#endif

namespace modelaug {
namespace {

std::atomic<bool> is_forked_child{false};

#if defined(__unix__) || defined(__APPLE__)
[[maybe_unused]] const int registered =
    pthread_atfork(nullptr, nullptr, [] { is_forked_child.store(true, std::memory_order_relaxed); });
#endif

}  // namespace

bool forked_child() {
    return is_forked_child.load(std::memory_order_relaxed);
}

}  // namespace modelaug
