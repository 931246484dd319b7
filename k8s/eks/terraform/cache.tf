resource "aws_elasticache_subnet_group" "store" {
  name       = "${var.name}-store"
  subnet_ids = module.vpc.database_subnets
}

resource "aws_security_group" "store" {
  name_prefix = "${var.name}-store-"
  description = "Nodes to ElastiCache"
  vpc_id      = module.vpc.vpc_id
}

resource "aws_vpc_security_group_ingress_rule" "store" {
  security_group_id            = aws_security_group.store.id
  description                  = "Pods, whom the network policies choose"
  referenced_security_group_id = module.eks.node_security_group_id
  ip_protocol                  = "tcp"
  from_port                    = 6379
  to_port                      = 6379
}

resource "aws_elasticache_parameter_group" "store" {
  name        = "${var.name}-store"
  family      = "redis7"
  description = "A full store refuses newcomers; it must never forget a place"

  parameter {
    name  = "cluster-enabled"
    value = "yes"
  }

  parameter {
    name  = "maxmemory-policy"
    value = "noeviction"
  }
}

# What docs/STORE.md asks for on a cluster, and nothing more.
resource "aws_elasticache_user" "edge" {
  user_id       = "${var.name}-edge"
  user_name     = "edge"
  engine        = "redis"
  access_string = "on ~vestibule:* &vestibule:* -@all +@read +@write +@pubsub +@scripting +@connection +time -@dangerous +info +cluster|slots +cluster|info"

  passwords_wo         = jsondecode(ephemeral.aws_secretsmanager_secret_version.store.secret_string).password
  passwords_wo_version = var.passwords_version
}

# A group must have a user named `default`; this one may do nothing.
resource "aws_elasticache_user" "nobody" {
  user_id              = "${var.name}-nobody"
  user_name            = "default"
  engine               = "redis"
  access_string        = "off ~nothing -@all +ping"
  no_password_required = true
}

resource "aws_elasticache_user_group" "store" {
  user_group_id = "${var.name}-store"
  engine        = "redis"
  user_ids      = [aws_elasticache_user.edge.user_id, aws_elasticache_user.nobody.user_id]
}

resource "aws_elasticache_replication_group" "store" {
  replication_group_id = var.name
  description          = "The queues of Vestibule"

  engine         = "redis"
  engine_version = "7.1"
  node_type      = var.cache_node_type
  port           = 6379

  num_node_groups            = var.cache_shards
  replicas_per_node_group    = var.cache_replicas
  automatic_failover_enabled = true
  multi_az_enabled           = true

  parameter_group_name = aws_elasticache_parameter_group.store.name
  subnet_group_name    = aws_elasticache_subnet_group.store.name
  security_group_ids   = [aws_security_group.store.id]

  transit_encryption_enabled = true
  at_rest_encryption_enabled = true
  user_group_ids             = [aws_elasticache_user_group.store.user_group_id]

  # What is lost comes back from edges and visitors: see docs/QUEUE.md.
  snapshot_retention_limit = 0
  maintenance_window       = "tue:03:00-tue:05:00"
  apply_immediately        = true
}
