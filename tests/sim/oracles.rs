//! What the hub shows, held against the model after every step.

use std::collections::BTreeSet;

use super::world::World;

impl World {
    /// Holds what the hub shows against the model.
    pub fn look(&mut self) {
        let somebodies = self.look_at_members();
        assert_eq!(self.hub.clients().iter().count(), somebodies);
        self.look_at_rooms();
    }

    /// Notes who is where by now, of those who may be, and gives how many are
    /// somebody.
    pub fn look_at_members(&mut self) -> usize {
        let step = self.step;
        let mut somebodies = 0;
        for (id, member) in &mut self.model.members {
            let Some(client) = self.hub.client(*id) else {
                if member.somebody {
                    member.somebody = false;
                    for room in member.now_in() {
                        member.exit(step, &room);
                    }
                }
                continue;
            };
            somebodies += 1;
            assert!(member.proven, "{id:?} is somebody, and nobody knows why");
            assert!(!member.dropped && !member.told_closed, "{id:?} lives on");
            if member.client.is_none() {
                member.client = Some(client.id());
                for room in &self.config.routes[member.route].default_rooms {
                    member.asked_in.insert(room.to_string());
                }
            }
            member.somebody = true;
            assert_eq!(member.client, Some(client.id()));
            if client.namespace() != member.namespace {
                let name = client.namespace();
                assert!(
                    member.asked_namespaces.contains(name),
                    "{id:?} moved to {name}"
                );
                for room in member.now_in() {
                    member.exit(step, &room);
                }
                member.namespace = name.into();
            }
            let user = client.user().map(|user| user.as_str());
            assert_eq!(user, member.user.as_deref(), "{id:?}");
            let bound = 4 * (1 << 20) + 300_000;
            assert!(client.buffered() <= bound, "{id:?}: {}", client.buffered());
            let rooms: BTreeSet<String> = self
                .hub
                .rooms_of(*id)
                .iter()
                .map(|room| room.id.to_string())
                .collect();
            let known = member.now_in();
            for room in rooms.difference(&known) {
                assert!(
                    member.asked_in.contains(room),
                    "{id:?} is in {room} unasked"
                );
                member.enter(step, room);
            }
            for room in known.difference(&rooms) {
                let asked = member.asked_out.contains(room) || member.asked_out.contains("");
                assert!(asked, "{id:?} is out of {room} unasked");
                member.exit(step, room);
            }
        }
        somebodies
    }

    pub fn look_at_rooms(&self) {
        for namespace in ["/chat", "/keyed", "/ws", "/rnode", "/mb"] {
            for room in self.hub.rooms_in(namespace) {
                let members: BTreeSet<&str> = room.connections.iter().map(|c| c.as_str()).collect();
                assert_eq!(members.len(), room.connections_count, "{room:?}");
                let known: BTreeSet<String> = self
                    .model
                    .members
                    .values()
                    .filter(|member| member.somebody && member.namespace == namespace)
                    .filter(|member| member.is_in(&room.id))
                    .filter_map(|member| Some(member.client?.to_string()))
                    .collect();
                let known: BTreeSet<&str> = known.iter().map(String::as_str).collect();
                assert_eq!(members, known, "{}", room.id);
                assert!(
                    !members.is_empty() || room.id.starts_with("room_"),
                    "{room:?}"
                );
            }
        }
    }
}
