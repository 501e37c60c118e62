# A server of Action Cable: the library itself, on Puma, without the rest of Rails.
#
#   ruby actioncable.rb serve PORT       see support.mjs for what it tells and reads

require 'json'
require 'logger'
require 'action_cable'
require 'puma'
require 'puma/server'

$stdout.sync = true
TOKEN = 'T&k/1'

# A line at a time, from several threads.
def tell(*words) = $stdout.write("#{words.join(' ')}\n")

class Connection < ActionCable::Connection::Base
  identified_by :who

  def connect
    reject_unauthorized_connection unless request.params['token'] == TOKEN
    self.who = 'somebody'
    tell 'in', 'connection'
  end
end

class ChatChannel < ActionCable::Channel::Base
  def subscribed
    # As an application that looks something up first.
    sleep 0.1
    stream_from 'news'
  end

  # Only then it hears the stream.
  def transmit_subscription_confirmation
    super
    tell 'subscribed', identifier
  end

  def unsubscribed = tell('left', identifier)
  def say(data) = tell('said', data['text'])
end

class ClosedChannel < ActionCable::Channel::Base
  def subscribed = reject
end

# What it logs as an error is what a client did wrong, but for the wrong token.
class Complaints < Logger
  def initialize = super(IO::NULL)

  def error(text = nil)
    tell('wrong', text.to_s.tr("\n", ' ')) unless text.to_s.include?('unauthorized')
  end
end

server = ActionCable.server
server.config.logger = ActiveSupport::TaggedLogging.new(Complaints.new)
server.config.cable = { 'adapter' => 'async' }
server.config.connection_class = -> { Connection }
server.config.allowed_request_origins = ['http://127.0.0.1']

puma = Puma::Server.new(server, Puma::Events.null)
listener = puma.add_tcp_listener('127.0.0.1', Integer(ARGV.fetch(1)))
puma.run
tell 'listening', listener.addr[1]

$stdin.each_line do |line|
  name, rest = line.chomp.split(' ', 2)
  case name
  when 'push' then server.broadcast('news', { text: rest })
  when 'restart' then server.restart
  when 'remote' then server.disconnect(who: 'somebody')
  end
end
# Whoever started us is gone.
exit!(0)
