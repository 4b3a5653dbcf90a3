#pragma once

#include <utility>  // Before Asio: Boost 1.74's awaitable.hpp uses std::exchange without it.

#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>

namespace barn {

// Wakes the one coroutine that waits on the same io_context thread. A Set() before Wait() is not lost; several count
// once.
class Signal {
 public:
  explicit Signal(boost::asio::io_context& context) : timer_(context) {}

  void Set() {
    set_ = true;
    timer_.cancel();
  }

  // Returns when Set() was called or the time has come.
  boost::asio::awaitable<void> Wait(boost::asio::steady_timer::time_point until) {
    boost::system::error_code ignored;
    timer_.expires_at(until);
    if (!set_) co_await timer_.async_wait(boost::asio::redirect_error(boost::asio::use_awaitable, ignored));
    set_ = false;
  }

 private:
  boost::asio::steady_timer timer_;
  bool set_ = false;
};

}  // namespace barn
